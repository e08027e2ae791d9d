"""Logits under a request's penalties, alike in sampler and learner."""

from __future__ import annotations

import torch
from torch import Tensor

from agentscope_tuner.penalties import LogitChange


def penalise_(logits_V: Tensor, change: LogitChange) -> tuple[Tensor, Tensor] | None:
    """Change one row of fp32 logits in place.

    Returns the tokens whose logits were multiplied, and by what: all others have the gradient that
    they had. None: no logit was.
    """
    scaled: tuple[Tensor, Tensor] | None = None
    if change.repetition != 1 and len(change.seen):
        seen_K = torch.from_numpy(change.seen).to(logits_V.device)
        z_K = logits_V[seen_K]
        factor_K = torch.where(z_K > 0, 1 / change.repetition, change.repetition)
        logits_V[seen_K] = z_K * factor_K
        scaled = seen_K, factor_K
    if len(change.tokens):
        tokens_K = torch.from_numpy(change.tokens).to(logits_V.device)
        logits_V[tokens_K] += torch.from_numpy(change.added).to(logits_V.device)
    return scaled
