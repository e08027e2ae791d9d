"""The models of a run's learning, as plain data: what is loaded, in this process or on ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize


@dataclass(frozen=True, slots=True)
class Frozen:
    """A model that is not tuned."""

    model: Path
    top: int = 0
    """Tokens of the column `teacher_top`."""


@dataclass(frozen=True, slots=True)
class Critic:
    """The critic, which computes as the learner does."""

    model: Path
    optimizer: OptimizerSettings


@dataclass(frozen=True, slots=True)
class Recipe:
    """A learner and the models beside it."""

    model: Path
    """A Hugging Face directory: a checkpoint's, where there is one, but with adapters the one that
    they are added to."""
    optimizer: OptimizerSettings
    compute_dtype: torch.dtype
    pack_size: PackSize
    device_type: str
    """`cpu`, or `cuda`; of several ranks each has the GPU of its number."""
    tokenizer: PreTrainedTokenizerBase | None = None
    checkpoint: Path | None = None
    """Where learner and critic go on; None: they begin."""
    lora: LoraSettings | None = None
    """Adapters of learner and critic; None: they are tuned in full."""
    seed: int = 0
    """Of the adapters' initial weights."""
    frozen: Mapping[str, Frozen] = field(default_factory=dict)
    """By what they are: `reference`, `teacher`."""
    critic: Critic | None = None
