"""Log-probabilities of chosen tokens from hidden states, a chunk of rows at a time.

Logits of N tokens over V words are the largest tensor of a training step. A chunk of rows is
multiplied at once, and then normalised block by block in float32, in place: what is kept for the
backward pass is one matrix of probabilities a chunk, in the compute dtype. A caller that turns each
chunk into its loss and goes backward before the next one never holds more than that.

Shapes: N rows of hidden states of width E, V words; n rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentscope_tuner.inference.base import Support
from agentscope_tuner.inference.penalised import penalise_
from agentscope_tuner.penalties import LogitChange

CHUNK_BYTES = 64 * 2**20
"""Memory for the probabilities of one chunk."""

BLOCK_BYTES = {"cpu": 6 * 2**20, "cuda": 256 * 2**20}
"""Memory for the float32 logits of one block: what a CPU's cache holds; on CUDA, a whole chunk."""


@dataclass(slots=True)
class Head:
    """How hidden states become the distribution that was drawn from."""

    weight_VE: Tensor
    targets_N: Tensor
    temperatures_N: Tensor
    supports: Mapping[int, Support]
    """Row -> the tokens that could have been drawn; absent: the whole vocabulary."""
    changes: Mapping[int, LogitChange] = field(default_factory=dict)
    """Row -> what penalties did to its logits; absent: nothing."""
    others_NK: Tensor | None = None
    """Further tokens of each row whose ln p are asked for."""

    def chunks(self) -> Iterator[slice]:
        """The rows in pieces whose probabilities fit into `CHUNK_BYTES`."""
        row_bytes = len(self.weight_VE) * self.weight_VE.element_size()
        return _pieces(0, len(self.targets_N), CHUNK_BYTES // row_bytes)

    def blocks(self, rows: slice) -> Iterator[tuple[slice, slice]]:
        """These rows in pieces whose float32 logits fit into `BLOCK_BYTES`: each among them, and
        among all."""
        block_bytes = BLOCK_BYTES[self.weight_VE.device.type]
        for block in _pieces(rows.start, rows.stop, block_bytes // (len(self.weight_VE) * 4)):
            yield slice(block.start - rows.start, block.stop - rows.start), block

    def logprobs(self, hidden_nE: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """ln p of these rows' targets, and the rows' entropies in nats, both [n] float32; and ln p
        of `others_NK` [n, K] (K is 0 where there are none), -inf outside of the support.

        p = softmax(change(hidden @ weight.T) / temperature) over the row's support. Gradients
        reach `hidden_nE` and `weight_VE`.
        """
        return _TokenLogprobs.apply(hidden_nE, self.weight_VE, self, rows)

    def distributions(
        self, logits_nV: Tensor, rows: slice, scaled: dict[int, tuple[Tensor, Tensor]] | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """ln p over the vocabulary [b, V] of these rows' logits, block by block in float32, -inf
        outside of the support, and where that is (None: nowhere). `scaled` gets what penalties
        scaled, by row."""
        for b, block in self.blocks(rows):
            logits_bV = logits_nV[b].float()
            for row in range(block.start, block.stop):
                if row in self.changes:
                    found = penalise_(logits_bV[row - block.start], self.changes[row])
                    if found is not None and scaled is not None:
                        scaled[row - rows.start] = found
            logits_bV /= self.temperatures_N[block, None]
            outside_bV = self.outside(block)
            if outside_bV is not None:
                logits_bV.masked_fill_(outside_bV, -torch.inf)
            yield b, torch.log_softmax(logits_bV, dim=1), outside_bV

    def outside(self, rows: slice) -> Tensor | None:
        """True at the tokens that these rows could not draw [n, V]; None: they could draw all."""
        chosen = {i: self.supports[i] for i in range(rows.start, rows.stop) if i in self.supports}
        if not chosen:
            return None
        outside_nV = np.zeros((rows.stop - rows.start, len(self.weight_VE)), dtype=bool)
        for row, support in chosen.items():
            outside_nV[row - rows.start] = ~_as_mask(support, len(self.weight_VE))
        return torch.from_numpy(outside_nV).to(self.weight_VE.device)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_nE: Tensor, weight_VE: Tensor, head: Head, rows: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        p_nV = hidden_nE @ weight_VE.T  # logits, replaced by probabilities block by block
        n = len(hidden_nE)
        others_nK = torch.empty((n, 0), dtype=torch.int64, device=hidden_nE.device)
        if head.others_NK is not None:
            others_nK = head.others_NK[rows]
        logprobs_n = hidden_nE.new_empty(n, dtype=torch.float32)
        entropy_n = torch.empty_like(logprobs_n)
        logprobs_nK = torch.empty(others_nK.shape, device=hidden_nE.device)
        scaled_by_row: dict[int, tuple[Tensor, Tensor]] = {}
        for b, logp_bV, outside_bV in head.distributions(p_nV, rows, scaled_by_row):
            p_bV = torch.exp(logp_bV)
            logprobs_n[b] = logp_bV.gather(1, head.targets_N[rows][b, None])[:, 0]
            if others_nK.shape[1]:
                logprobs_nK[b] = logp_bV.gather(1, others_nK[b])
            if outside_bV is not None:
                logp_bV.masked_fill_(outside_bV, 0.0)
            entropy_n[b] = -torch.linalg.vecdot(p_bV, logp_bV)
            p_nV[b] = p_bV
        told_nK = torch.cat([head.targets_N[rows, None], others_nK], 1)
        told_p_nK = torch.cat([logprobs_n[:, None], logprobs_nK], 1).exp()
        ctx.save_for_backward(hidden_nE, weight_VE, p_nV, entropy_n, told_nK, told_p_nK)
        ctx.head, ctx.rows, ctx.scaled = head, rows, scaled_by_row
        ctx.set_materialize_grads(False)
        return logprobs_n, entropy_n, logprobs_nK

    @staticmethod
    def backward(
        ctx: Any,
        grad_logprobs_n: Tensor | None,
        grad_entropy_n: Tensor | None,
        grad_logprobs_nK: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden_nE, weight_VE, grad_nV, entropy_n, told_nK, told_p_nK = ctx.saved_tensors
        head: Head = ctx.head
        grad_told_nK = torch.zeros_like(told_p_nK)
        if grad_logprobs_n is not None:
            grad_told_nK[:, 0] = grad_logprobs_n
        if grad_logprobs_nK is not None:
            grad_told_nK[:, 1:] = grad_logprobs_nK
        # In the place of the probabilities, which nobody asks for again, and in float32 before it
        # is rounded: a likely token's 1 - p is a small difference.
        for b, block in head.blocks(ctx.rows):
            kept_bV = grad_nV[b]
            p_bV = kept_bV.float()
            p_bV.scatter_(1, told_nK[b], told_p_nK[b])
            slope_bV = None
            if grad_entropy_n is not None:
                # dH / dx_i = -p_i (ln p_i + H)
                slope_bV = torch.xlogy(p_bV, p_bV) + p_bV * entropy_n[b, None]
                slope_bV *= grad_entropy_n[b, None]
            # d ln p_t / dx_i = [i = t] - p_i
            x_bV = p_bV.mul_(-grad_told_nK[b].sum(1, keepdim=True))
            x_bV.scatter_add_(1, told_nK[b], grad_told_nK[b])
            if slope_bV is not None:
                x_bV -= slope_bV
            x_bV /= head.temperatures_N[block, None]
            if x_bV.dtype != kept_bV.dtype:
                kept_bV.copy_(x_bV)
        for row, (tokens_K, factor_K) in ctx.scaled.items():
            grad_nV[row, tokens_K] *= factor_K.to(grad_nV.dtype)
        grad_weight_VE = None
        if ctx.needs_input_grad[1]:
            grad_weight_VE = _weight_gradient(head.weight_VE, grad_nV, hidden_nE)
        return grad_nV @ weight_VE, grad_weight_VE, None, None


def _weight_gradient(weight_VE: Tensor, grad_nV: Tensor, hidden_nE: Tensor) -> Tensor | None:
    """What a chunk adds to the gradient of the head's weight.

    None where there is one already: it is added there, without another matrix of the head's size.
    """
    if weight_VE.is_leaf and weight_VE.grad is not None:
        weight_VE.grad.addmm_(grad_nV.T, hidden_nE)
        return None
    return grad_nV.T @ hidden_nE


def _pieces(start: int, stop: int, size: int) -> Iterator[slice]:
    size = max(1, size)
    return (slice(at, min(at + size, stop)) for at in range(start, stop, size))


def _as_mask(support: Support, vocabulary: int) -> NDArray[np.bool_]:
    """True at the tokens of the support."""
    if support.dtype == np.uint8:
        packed = support.astype(np.uint8, copy=False)
        bits = np.unpackbits(packed, count=vocabulary, bitorder="little")
        return bits.astype(bool)
    mask = np.zeros(vocabulary, dtype=bool)
    mask[support] = True
    return mask
