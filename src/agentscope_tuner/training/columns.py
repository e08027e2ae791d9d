"""Columns of a batch under a model, without gradient; and models that do nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import starmap

import torch
from torch import Tensor
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward, reading
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import DEFAULT_PACK_SIZE, PackSize, pack_batch
from agentscope_tuner.training.reading import Columns, Part, Reader
from agentscope_tuner.training.shared_prefix import bundles_of


@torch.no_grad()
def columns_of(
    model: PreTrainedModel, batch: Batch, pack_size: PackSize, reader: Reader
) -> Columns:
    """What `reader` makes of every trained token under `model`."""

    def found(pack: Pack, hidden_NE: Tensor) -> Part:
        return torch.from_numpy(pack.rows_N), reader.read(forward.head_of(model, pack), hidden_NE)

    states = forward.states_of(model, bundles_of(pack_batch(batch, pack_size)))
    return reading.joined(len(batch), starmap(found, states), reader.names)


class FrozenModel:
    """A model that is never updated: the reference, or a teacher. It fills one column, or two."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        pack_size: PackSize = DEFAULT_PACK_SIZE,
        top: int = 0,
    ) -> None:
        """Take over `model`; `top` is how many tokens the column `teacher_top` has.

        Raises InputError if its architecture is not known.
        """
        self.top = top
        self.model = forward.prepare(model, torch.device(device)).requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.data = parameter.data.to(dtype)
        self.pack_size = pack_size

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns with ln p of every trained token.

        But `teacher_top` [N, top] with ln p of the likeliest tokens, whose ids are `other_ids`.
        """
        batch.columns |= frozen_columns(
            columns, self.top, lambda reader: columns_of(self.model, batch, self.pack_size, reader)
        )

    def release(self) -> None:
        """Give the memory back; the model cannot be used any more."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)


def frozen_columns(
    names: Collection[str], top: int, columns: Callable[[Reader], Columns]
) -> Columns:
    """What a frozen model that `columns` computes with is asked for."""
    found: Columns = {}
    if "teacher_top" in names:
        found = columns(reading.likeliest(top))
    if plain := set(names) - {"teacher_top"}:
        logprobs_N = columns(reading.LOGPROBS)["current"]
        found |= {name: logprobs_N for name in plain}
    return found


def own_columns(names: Collection[str], columns: Callable[[Reader], Columns]) -> Columns:
    """What a learner that `columns` computes with is asked for: `proximal` and `current` are both
    ln p under its weights as they are now."""
    found: Columns = {}
    if {"proximal", "current", "entropy"} & set(names):
        found = columns(reading.LOGPROBS)
        found["proximal"] = found["current"]
    if "expected_push" in names:
        found |= columns(reading.EXPECTED_PUSH)
    return {name: found[name] for name in names if name in found}
