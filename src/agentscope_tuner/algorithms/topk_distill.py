"""Distillation by whole distributions: the teacher's likeliest tokens, and a bucket for the rest.

On the student's own rollouts, token by token, with M = b * teacher + (1 - b) * student:

    loss = b * KL(teacher || M) + (1 - b) * KL(student || M),   b = beta

and by convention KL(teacher || student) for b = 0, KL(student || teacher) for b = 1. Of far less
variance than one sampled token a position (`on_policy_distill`, `jsd`). Agarwal et al., "On-Policy
Distillation of Language Models" (GKD), 2024 (arXiv:2306.13649).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError

IMPOSSIBLE = -1e4
"""In place of ln 0."""


@dataclass(frozen=True)
class TopKDistill(PolicyLoss):
    """Policy loss `topk_distill`. Raises InputError for a value that makes no sense."""

    name: ClassVar[str] = "topk_distill"
    zero_without_advantage: ClassVar[bool] = False

    top_k: int = 32
    """How many of the teacher's likeliest tokens are told apart."""
    beta: float = 1.0
    """The teacher's share in the mixture; 1: the reverse divergence, 0: the forward one."""

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}; it must be at least 1")
        if not 0 <= self.beta <= 1:
            raise InputError(f"beta is {self.beta}; it must be between 0 and 1")

    @property
    def teacher_top(self) -> int:
        """Of how many of its likeliest tokens the teacher is asked."""
        return self.top_k

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Divergence per token [N]."""
        assert tokens.others_NK is not None
        teacher_NK = tokens.columns["teacher_top"]
        possible_NK = teacher_NK > IMPOSSIBLE
        loss_N = divergence(
            with_rest(tokens.others_NK.masked_fill(~possible_NK, IMPOSSIBLE)),
            with_rest(teacher_NK.masked_fill(~possible_NK, IMPOSSIBLE)),
            self.beta,
        )
        return loss_N, {"teacher_divergence": loss_N.detach()}


def with_rest(logprobs_NK: Tensor) -> Tensor:
    """With ln of what is left of 1 as a last column [N, K + 1]."""
    rest_N = (1 - logprobs_NK.exp().sum(-1)).clamp(min=1e-8)
    return torch.cat([logprobs_NK, rest_N.log()[:, None]], -1)


def divergence(student_NK: Tensor, teacher_NK: Tensor, beta: float) -> Tensor:
    """See the module; of two distributions given as ln p [N, K]."""

    def kl(p_NK: Tensor, q_NK: Tensor) -> Tensor:
        return (p_NK.exp() * (p_NK - q_NK)).sum(-1)

    if beta == 0:
        return kl(teacher_NK, student_NK)
    if beta == 1:
        return kl(student_NK, teacher_NK)
    mixed_NK = torch.logaddexp(teacher_NK + math.log(beta), student_NK + math.log1p(-beta))
    return beta * kl(teacher_NK, mixed_NK) + (1 - beta) * kl(student_NK, mixed_NK)


TOPK_DISTILL = AlgorithmType(
    "topk_distill",
    "A stronger model of the same tokenizer is at hand, and its whole distributions.",
    "none",
    "topk_distill",
)
