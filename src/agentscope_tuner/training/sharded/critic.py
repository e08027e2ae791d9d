"""A critic spread over several processes: every rank calls every verb, with the same arguments."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.checkpoint.state import load_state, save_state
from agentscope_tuner.training.critic import explained_variance
from agentscope_tuner.training.lora import LoraSettings, add_adapters
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import DEFAULT_PACK_SIZE, PackSize, pack_batch
from agentscope_tuner.training.sharded.model import ShardedModel
from agentscope_tuner.training.sharded.shards import trained, whole
from agentscope_tuner.training.sharded.state import load_updates, save_updates
from agentscope_tuner.training.token_metrics import TokenMetrics
from agentscope_tuner.training.updates import Updates

STATE = "critic"
"""Folder in a checkpoint's `tuner_state/`: the critic's trained weights and its optimizer."""
WEIGHTS = "weights.pt"


class ShardedCritic:
    """One rank of a critic: what `LocalCritic` is in one process."""

    def __init__(
        self,
        model: PreTrainedModel,
        mesh: DeviceMesh,
        *,
        optimizer: OptimizerSettings,
        compute_dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
        lora: LoraSettings | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        """Take over `model` (float32 weights, alike on all ranks), whose head of words is dropped,
        and go on from `checkpoint`, if there is one.

        Raises InputError if the architecture is not known.
        """
        model.set_output_embeddings(nn.Identity())
        if lora is not None:
            add_adapters(model, lora)
        self.head = nn.Linear(model.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        model.set_output_embeddings(self.head)
        state = None if checkpoint is None else checkpoint / "tuner_state" / STATE
        if state is not None:
            model.load_state_dict(load_state(state / WEIGHTS), strict=False)
        self._shards = ShardedModel(model, mesh, compute_dtype, pack_size, precise=[self.head])
        self._updates = Updates(trained(model), optimizer)
        if state is not None:
            load_updates(state, model, self._updates, self._shards.group)

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns (there is one, `value`); see `LocalCritic.forward`."""
        batch.columns |= self._shards.filled(
            batch, lambda pack: dict.fromkeys(columns, self._values(pack)), columns
        )

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of one prepared batch; see `LocalCritic.forward_backward`."""
        metrics = TokenMetrics("critic")
        self._shards.model.train()  # activations are computed twice instead of kept
        for pack, counts in self._shards.own(pack_batch(batch, self._shards.pack_size)):
            rows_N = torch.from_numpy(pack.rows_N)
            columns = {name: c[rows_N].to(self._shards.device) for name, c in batch.columns.items()}
            values_N = self._values(pack)
            loss_N, extra = algorithm.value_loss(values_N, columns)
            # FSDP2 divides by the number of ranks.
            scale = float(self._shards.world) if counts else 0.0
            (loss_N.sum() * (scale / len(batch))).backward()
            if counts:
                metrics.add_all({"loss": loss_N, "value": values_N, **extra})
        if not len(batch):
            return {}
        merged = TokenMetrics("critic")
        for sums, largest in self._shards.gathered(metrics.plain()):
            merged.add_plain(sums, largest)
        explained = explained_variance(batch.columns["value"], batch.columns["return"])
        return {**merged.result(len(batch)), "critic/explained_variance": explained}

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the weights; see `LocalCritic.optim_step`."""
        return {f"critic/{name}": value for name, value in self._updates.step(at).items()}

    def save(self, directory: Path) -> None:
        """Write `tuner_state/critic/` into a checkpoint, every rank its part."""
        state, model = directory / "tuner_state" / STATE, self._shards.model
        save_updates(state, model, self._updates, self._shards.group)
        weights = {name: whole(weight.detach()) for name, weight in trained(model).items()}
        if self._shards.rank == 0:
            save_state(state / WEIGHTS, weights)

    def _values(self, pack: Pack) -> Tensor:
        """Expected returns at the pack's trained tokens [N], float32."""
        values_N1: Tensor = self.head(self._shards.states(pack).float())
        return values_N1[:, 0]
