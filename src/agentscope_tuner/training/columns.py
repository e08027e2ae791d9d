"""Columns of a batch under a model, without gradient; and models that do nothing else."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward
from agentscope_tuner.training.packing import DEFAULT_PACK_SIZE, PackSize, pack_batch


def token_columns(
    model: PreTrainedModel, batch: Batch, pack_size: PackSize
) -> tuple[Tensor, Tensor]:
    """ln p and entropy in nats of every trained token, [N] each."""
    logprobs_N, entropy_N = torch.empty(len(batch)), torch.empty(len(batch))
    for pack in pack_batch(batch, pack_size):
        rows_N = torch.from_numpy(pack.rows_N)
        found = forward.pack_logprobs(model, pack)
        logprobs_N[rows_N], entropy_N[rows_N] = (values_n.cpu() for values_n in found)
    return logprobs_N, entropy_N


def expected_pushes(model: PreTrainedModel, batch: Batch, pack_size: PackSize) -> Tensor:
    """What p (H + ln p) is on average over the tokens that could have been drawn, [N]."""

    def read(logp_bV: Tensor) -> Tensor:
        p_bV = logp_bV.exp()
        logp_bV = logp_bV.masked_fill(logp_bV == -torch.inf, 0.0)
        entropy_b1 = -(p_bV * logp_bV).sum(1, keepdim=True)
        return (p_bV**2 * (entropy_b1 + logp_bV)).sum(1)

    values_N = torch.empty(len(batch))
    for pack in pack_batch(batch, pack_size):
        found_N = forward.pack_distributions(model, pack, read).cpu()
        values_N[torch.from_numpy(pack.rows_N)] = found_N
    return values_N


def top_columns(
    model: PreTrainedModel, batch: Batch, pack_size: PackSize, top: int
) -> tuple[Tensor, Tensor]:
    """At each trained token the `top` likeliest ones: their ids and ln p, [N, top] each."""

    def read(logp_bV: Tensor) -> Tensor:
        best_bK, ids_bK = logp_bV.topk(top)
        return torch.stack([best_bK.double(), ids_bK.double()], 1)

    ids_NK, logprobs_NK = (
        torch.empty(len(batch), top, dtype=torch.int64),
        torch.empty(len(batch), top),
    )
    for pack in pack_batch(batch, pack_size):
        rows_N = torch.from_numpy(pack.rows_N)
        found_N2K = forward.pack_distributions(model, pack, read).cpu()
        logprobs_NK[rows_N], ids_NK[rows_N] = found_N2K[:, 0].float(), found_N2K[:, 1].long()
    return ids_NK, logprobs_NK


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
        if "teacher_top" in columns:
            found = top_columns(self.model, batch, self.pack_size, self.top)
            batch.columns["other_ids"], batch.columns["teacher_top"] = found
        columns = set(columns) - {"teacher_top"}
        if not columns:
            return
        logprobs_N, _ = token_columns(self.model, batch, self.pack_size)
        batch.columns |= {name: logprobs_N for name in columns}

    def release(self) -> None:
        """Give the memory back; the model cannot be used any more."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)
