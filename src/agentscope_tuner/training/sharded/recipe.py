"""What a rank is made of: plain data, which travels to its process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.sharded.learner import ShardedLearner
from agentscope_tuner.training.sharded.model import ShardedFrozenModel

LEARNER = "learner"
"""The name of the part that is tuned."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The models of a rank, alike for all of them."""

    model: Path
    """A Hugging Face directory: a checkpoint's, where there is one."""
    optimizer: OptimizerSettings
    compute_dtype: torch.dtype
    pack_size: PackSize
    device_type: str
    """`cpu`, or `cuda`: each rank has the GPU of its number."""
    tokenizer: PreTrainedTokenizerBase | None = None
    checkpoint: Path | None = None
    """Where the optimizer goes on; None: it begins."""
    frozen: Mapping[str, Path] = field(default_factory=dict)
    """Models that are not tuned, by the name of their part."""

    def parts(self, mesh: DeviceMesh) -> dict[str, ShardedLearner | ShardedFrozenModel]:
        """Load everything onto a mesh; every rank does at once."""
        learner = ShardedLearner(
            load_model(self.model, torch.float32),
            mesh,
            optimizer=self.optimizer,
            compute_dtype=self.compute_dtype,
            pack_size=self.pack_size,
            tokenizer=self.tokenizer,
        )
        if self.checkpoint is not None:
            learner.load(self.checkpoint)
        parts: dict[str, ShardedLearner | ShardedFrozenModel] = {LEARNER: learner}
        for name, directory in self.frozen.items():
            parts[name] = ShardedFrozenModel(
                load_model(directory, torch.float32),
                mesh,
                dtype=self.compute_dtype,
                pack_size=self.pack_size,
            )
        return parts
