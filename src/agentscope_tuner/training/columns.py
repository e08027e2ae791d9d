"""Columns of a batch under a model, without gradient; and models that do nothing else."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward
from agentscope_tuner.training.packing import pack_batch


def token_columns(
    model: PreTrainedModel, batch: Batch, max_tokens_per_pack: int
) -> tuple[Tensor, Tensor]:
    """ln p and entropy in nats of every trained token, [N] each."""
    logprobs_N, entropy_N = torch.empty(len(batch)), torch.empty(len(batch))
    for pack in pack_batch(batch, max_tokens_per_pack):
        rows_N = torch.from_numpy(pack.rows_N)
        found = forward.pack_logprobs(model, pack)
        logprobs_N[rows_N], entropy_N[rows_N] = (values_n.cpu() for values_n in found)
    return logprobs_N, entropy_N


class FrozenModel:
    """A model that is never updated: the reference, or a teacher. It fills one column."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        max_tokens_per_pack: int = 8192,
    ) -> None:
        """Take over `model`. Raises InputError if its architecture is not known."""
        self.model = forward.prepare(model, torch.device(device)).requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.data = parameter.data.to(dtype)
        self.max_tokens_per_pack = max_tokens_per_pack

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns with ln p of every trained token."""
        logprobs_N, _ = token_columns(self.model, batch, self.max_tokens_per_pack)
        batch.columns |= {name: logprobs_N for name in columns}

    def release(self) -> None:
        """Give the memory back; the model cannot be used any more."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)
