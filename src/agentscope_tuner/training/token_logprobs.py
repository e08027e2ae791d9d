"""Log-probabilities of chosen tokens without ever holding all logits.

Logits of N tokens over V words are the largest tensor of a training step. They are computed a chunk
of rows at a time in float32, reduced to one log-probability and one entropy a row, and computed again
in the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentscope_tuner.inference.base import Support

CHUNK_BYTES = 128 * 2**20
"""Memory for one chunk of float32 logits."""


@dataclass(slots=True)
class Head:
    """How hidden states become the distribution that was drawn from."""

    targets_N: Tensor
    temperatures_N: Tensor
    supports: Mapping[int, Support] = field(default_factory=dict)
    """Row -> the tokens that could have been drawn; absent: the whole vocabulary."""
    softcap: float | None = None
    """Logits x become softcap * tanh(x / softcap), as Gemma has it."""

    def rows(self, start: int, end: int, vocabulary: int) -> Tensor | None:
        """True at tokens outside the support, for the rows of a chunk; None: no such row."""
        chosen = {i - start: s for i, s in self.supports.items() if start <= i < end}
        if not chosen:
            return None
        outside = np.zeros((end - start, vocabulary), dtype=bool)
        for row, support in chosen.items():
            outside[row] = True
            if support.dtype == np.uint8:
                inside = np.unpackbits(support, count=vocabulary, bitorder="little")
                outside[row] = inside == 0
            else:
                outside[row, support] = False
        return torch.from_numpy(outside).to(self.targets_N.device)


def token_logprobs(hidden_NE: Tensor, weight_VE: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """ln p of each row's target, and each row's entropy in nats, both [N] float32.

    p = softmax(softcap(hidden @ weight.T) / temperature) over the row's support. Gradients reach
    both `hidden_NE` and `weight_VE`.
    """
    return _TokenLogprobs.apply(hidden_NE, weight_VE, head)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NE: Tensor, weight_VE: Tensor, head: Head
    ) -> tuple[Tensor, Tensor]:
        logprobs_N = hidden_NE.new_empty(len(hidden_NE), dtype=torch.float32)
        entropy_N = torch.empty_like(logprobs_N)
        lse_N = torch.empty_like(logprobs_N)
        for start, end in _chunks(hidden_NE, weight_VE):
            logits_nV, _ = _logits(hidden_NE[start:end], weight_VE, head, start, end)
            target_n = logits_nV.gather(1, head.targets_N[start:end, None])[:, 0]
            lse_n = torch.logsumexp(logits_nV, dim=1)
            p_nV = torch.exp(logits_nV - lse_n[:, None])
            mean_n = (p_nV * logits_nV.nan_to_num_(neginf=0.0)).sum(1)
            lse_N[start:end] = lse_n
            logprobs_N[start:end] = target_n - lse_n
            entropy_N[start:end] = lse_n - mean_n
        ctx.save_for_backward(hidden_NE, weight_VE, lse_N, entropy_N)
        ctx.head = head
        ctx.set_materialize_grads(False)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(
        ctx: Any, grad_logprobs_N: Tensor | None, grad_entropy_N: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_NE, weight_VE, lse_N, entropy_N = ctx.saved_tensors
        head: Head = ctx.head
        needs_weight = ctx.needs_input_grad[1]
        grad_hidden_NE = torch.empty_like(hidden_NE)
        grad_weight_VE = torch.zeros_like(weight_VE, dtype=torch.float32) if needs_weight else None
        for start, end in _chunks(hidden_NE, weight_VE):
            hidden_nE = hidden_NE[start:end]
            logits_nV, slope_nV = _logits(hidden_nE, weight_VE, head, start, end)
            logits_nV -= lse_N[start:end, None]
            p_nV = logits_nV.exp()
            grad_nV = torch.zeros_like(p_nV)
            if grad_entropy_N is not None:
                # dH/dx_i = -p_i (ln p_i + H)
                logits_nV.nan_to_num_(neginf=0.0).add_(entropy_N[start:end, None])
                grad_nV -= grad_entropy_N[start:end, None] * p_nV * logits_nV
            if grad_logprobs_N is not None:
                # d ln p_t / dx_i = [i = t] - p_i
                grad_n1 = grad_logprobs_N[start:end, None]
                grad_nV -= p_nV * grad_n1
                grad_nV.scatter_add_(1, head.targets_N[start:end, None], grad_n1)
            grad_nV /= head.temperatures_N[start:end, None]
            if slope_nV is not None:
                grad_nV *= slope_nV
            low_nV = grad_nV.to(weight_VE.dtype)
            grad_hidden_NE[start:end] = low_nV @ weight_VE
            if grad_weight_VE is not None:
                grad_weight_VE += low_nV.T @ hidden_nE
        if grad_weight_VE is not None:
            grad_weight_VE = grad_weight_VE.to(weight_VE.dtype)
        return grad_hidden_NE, grad_weight_VE, None


def _chunks(hidden_NE: Tensor, weight_VE: Tensor) -> list[tuple[int, int]]:
    rows = max(1, CHUNK_BYTES // (4 * len(weight_VE)))
    total = len(hidden_NE)
    return [(start, min(start + rows, total)) for start in range(0, total, rows)]


def _logits(
    hidden_nE: Tensor, weight_VE: Tensor, head: Head, start: int, end: int
) -> tuple[Tensor, Tensor | None]:
    """Logits [n, V] in float32, -inf outside the support, and the softcap's slope."""
    logits_nV = (hidden_nE @ weight_VE.T).float()
    slope_nV = None
    if head.softcap is not None:
        capped_nV = torch.tanh(logits_nV / head.softcap)
        slope_nV = 1 - capped_nV.square()
        logits_nV = head.softcap * capped_nV
    logits_nV = logits_nV / head.temperatures_N[start:end, None]
    outside_nV = head.rows(start, end, len(weight_VE))
    if outside_nV is not None:
        logits_nV.masked_fill_(outside_nV, float("-inf"))
    return logits_nV, slope_nV
