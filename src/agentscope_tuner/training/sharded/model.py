"""A model in shards: every rank computes its packs, and all know the columns then."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import DEFAULT_PACK_SIZE, PackSize, pack_batch
from agentscope_tuner.training.recomputation import recompute_activations
from agentscope_tuner.training.sharded.deal import packs_of
from agentscope_tuner.training.sharded.shards import STATES, shard

Part = tuple[Tensor, dict[str, Tensor]]
"""Rows of a batch, and what is known of them, by column."""


class ShardedModel:
    """One rank's part of a model, called by all ranks at once."""

    def __init__(
        self,
        model: PreTrainedModel,
        mesh: DeviceMesh,
        compute_dtype: torch.dtype,
        pack_size: PackSize,
    ) -> None:
        """Take over `model`, alike on all ranks, in place, on the mesh's device.

        Raises InputError if the architecture is not known.
        """
        self.device = torch.device(mesh.device_type)
        self.model = forward.prepare(model, self.device)
        self.pack_size = pack_size
        self.rank, self.world = mesh.get_local_rank(), mesh.size()
        self.group = mesh.get_group()
        recompute_activations(model)
        shard(model, mesh, compute_dtype)
        self.states: Callable[[Pack], Tensor] = getattr(model, STATES)
        """Hidden states [N, E] that a pack's trained tokens are predicted from."""

    @torch.no_grad()
    def columns(self, batch: Batch) -> dict[str, Tensor]:
        """`current` (ln p) and `entropy` (nats) of every trained token, [N] each."""
        parts: list[Part] = []
        self.model.eval()
        for pack, counts in self.own(pack_batch(batch, self.pack_size)):
            hidden_NE = self.states(pack)
            logprobs_N, entropy_N = forward.all_logprobs(
                forward.head_of(self.model, pack), hidden_NE
            )
            if counts:
                values = {"current": logprobs_N.cpu(), "entropy": entropy_N.cpu()}
                parts.append((torch.from_numpy(pack.rows_N), values))
        return self.joined(len(batch), ("current", "entropy"), parts)

    def own(self, packs: list[Pack]) -> list[tuple[Pack, bool]]:
        """The packs that this rank computes, and whether each counts."""
        return packs_of(packs, self.rank, self.world)

    def joined(self, size: int, names: Collection[str], parts: list[Part]) -> dict[str, Tensor]:
        """Columns from what every rank knows of some rows; NaN elsewhere."""
        columns = {name: torch.full((size,), torch.nan) for name in names}
        for theirs in self.gathered(parts):
            for rows_N, values in theirs:
                for name in names:
                    columns[name][rows_N] = values[name]
        return columns

    def gathered(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of the ranks."""
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.group)
        return values


class ShardedFrozenModel:
    """A model in shards that is never updated: the reference, or a teacher."""

    def __init__(
        self,
        model: PreTrainedModel,
        mesh: DeviceMesh,
        *,
        dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
    ) -> None:
        """Take over `model`. Raises InputError if its architecture is not known."""
        frozen: torch.nn.Module = model
        frozen.to(dtype).requires_grad_(False)
        self._shards = ShardedModel(model, mesh, dtype, pack_size)

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns with ln p of every trained token."""
        logprobs_N = self._shards.columns(batch)["current"]
        batch.columns |= {name: logprobs_N for name in columns}
