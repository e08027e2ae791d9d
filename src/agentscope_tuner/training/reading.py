"""What a head makes of hidden states, as columns: of one pack's N trained tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from agentscope_tuner.training.token_logprobs import Head

Columns = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Reader:
    """How some columns are read."""

    names: tuple[str, ...]
    read: Callable[[Head, Tensor], Columns]
    """From a pack's head and hidden states [N, E]."""


Part = tuple[Tensor, Columns]
"""Rows of a batch, and what is known of them."""


def _logprobs(head: Head, hidden_NE: Tensor) -> Columns:
    chunks = [head.logprobs(hidden_NE[rows], rows)[:2] for rows in head.chunks()]
    current, entropy = zip(*chunks, strict=True)
    return {"current": torch.cat(current), "entropy": torch.cat(entropy)}


def _expected_push(head: Head, hidden_NE: Tensor) -> Columns:
    def read(logp_bV: Tensor) -> Tensor:
        p_bV = logp_bV.exp()
        logp_bV = logp_bV.masked_fill(logp_bV == -torch.inf, 0.0)
        entropy_b1 = -(p_bV * logp_bV).sum(1, keepdim=True)
        return (p_bV**2 * (entropy_b1 + logp_bV)).sum(1)

    return {"expected_push": torch.cat([read(logp) for logp in _distributions(head, hidden_NE)])}


LOGPROBS = Reader(("current", "entropy"), _logprobs)
"""ln p of each token, and the entropy that it was drawn at, in nats."""
EXPECTED_PUSH = Reader(("expected_push",), _expected_push)
"""p (H + ln p), on average over the tokens that could have been drawn."""


def likeliest(top: int) -> Reader:
    """`other_ids` and `teacher_top`: the `top` likeliest tokens and their ln p, [N, top] each."""

    def read(head: Head, hidden_NE: Tensor) -> Columns:
        best = [logp_bV.topk(top) for logp_bV in _distributions(head, hidden_NE)]
        return {
            "other_ids": torch.cat([found.indices for found in best]),
            "teacher_top": torch.cat([found.values for found in best]),
        }

    return Reader(("other_ids", "teacher_top"), read)


def joined(size: int, parts: Iterable[Part], names: Iterable[str]) -> Columns:
    """Columns of a batch of so many tokens; NaN (0 of whole numbers) where nothing is known.

    `names` are there in any case.
    """
    columns: Columns = {}
    for rows_n, values in parts:
        for name, values_n in values.items():
            if name not in columns:
                unknown = torch.nan if values_n.is_floating_point() else 0
                shape = (size, *values_n.shape[1:])
                columns[name] = torch.full(shape, unknown, dtype=values_n.dtype)
            columns[name][rows_n] = values_n.cpu()
    return {name: torch.full((size,), torch.nan) for name in names} | columns


def _distributions(head: Head, hidden_NE: Tensor) -> Iterable[Tensor]:
    """ln p over the vocabulary [b, V], -inf outside of the support, block by block."""
    for rows in head.chunks():
        logits_nV = hidden_NE[rows] @ head.weight_VE.T
        for _, logp_bV, _ in head.distributions(logits_nV, rows):
            yield logp_bV
