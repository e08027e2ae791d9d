"""A model in shards: every rank computes its packs, and all know the columns then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward, reading
from agentscope_tuner.training.columns import frozen_columns
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import DEFAULT_PACK_SIZE, PackSize, pack_batch
from agentscope_tuner.training.reading import Columns, Part, Reader
from agentscope_tuner.training.recomputation import recompute_activations
from agentscope_tuner.training.sharded.deal import packs_of
from agentscope_tuner.training.sharded.shards import STATES, shard


class ShardedModel:
    """One rank's part of a model, called by all ranks at once."""

    def __init__(
        self,
        model: PreTrainedModel,
        mesh: DeviceMesh,
        compute_dtype: torch.dtype,
        pack_size: PackSize,
        precise: Sequence[nn.Module] = (),
    ) -> None:
        """Take over `model`, alike on all ranks, in place, on the mesh's device. Its modules that
        are `precise` compute in float32.

        Raises InputError if the architecture is not known.
        """
        self.device = torch.device(mesh.device_type)
        self.model = forward.prepare(model, self.device)
        self.pack_size = pack_size
        self.rank, self.world = mesh.get_local_rank(), mesh.size()
        self.group = mesh.get_group()
        recompute_activations(model)
        shard(model, mesh, compute_dtype, precise)
        self.states: Callable[[Pack], Tensor] = getattr(model, STATES)
        """Hidden states [N, E] that a pack's trained tokens are predicted from."""

    def columns(self, batch: Batch, reader: Reader) -> Columns:
        """What `reader` makes of every trained token."""

        def read(pack: Pack) -> Columns:
            hidden_NE = self.states(pack)
            return reader.read(forward.head_of(self.model, pack), hidden_NE)

        return self.filled(batch, read, reader.names)

    @torch.no_grad()
    def filled(
        self, batch: Batch, read: Callable[[Pack], Columns], names: Iterable[str]
    ) -> Columns:
        """The columns `names`, of what `read` makes of each pack's trained tokens."""
        parts: list[Part] = []
        self.model.eval()
        for pack, counts in self.own(pack_batch(batch, self.pack_size)):
            found = read(pack)
            if counts:
                values = {name: values_n.cpu() for name, values_n in found.items()}
                parts.append((torch.from_numpy(pack.rows_N), values))
        return self.joined(len(batch), parts, names)

    def own(self, packs: list[Pack]) -> list[tuple[Pack, bool]]:
        """The packs that this rank computes, and whether each counts."""
        return packs_of(packs, self.rank, self.world)

    def joined(self, size: int, parts: list[Part], names: Iterable[str]) -> Columns:
        """Columns from what every rank knows of some rows; see `reading.joined`."""
        return reading.joined(size, chain(*self.gathered(parts)), names)

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
        top: int = 0,
    ) -> None:
        """See `FrozenModel`."""
        self._top = top
        frozen: torch.nn.Module = model
        frozen.to(dtype).requires_grad_(False)
        self._shards = ShardedModel(model, mesh, dtype, pack_size)

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """See `FrozenModel.forward`."""
        columns_of = partial(self._shards.columns, batch)
        batch.columns |= frozen_columns(columns, self._top, columns_of)
