"""Supervised fine-tuning: loss = -ln pi(token) on the demonstrated tokens, no rollouts.

`sft_is` weighs each token by its probability, `sft_phi` by p (1 - p), which learns least from what
is known and from what is out of reach (Zhang et al., CHORD, 2025, arXiv:2508.11408).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True)
class Everything(Advantage):
    """Advantage `none`: 1 for every rollout that did not fail, which is worth imitating as it
    is."""

    name: ClassVar[str] = "none"

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set 1, or None for what failed."""
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            rollout.advantage = None if rollout.error is not None else 1.0


@dataclass(frozen=True)
class Likelihood(PolicyLoss):
    """Policy loss `sft`."""

    name: ClassVar[str] = "sft"
    zero_without_advantage: ClassVar[bool] = False

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Negative log-likelihood per token [N]."""
        return -tokens.logprobs_N, {}


@dataclass(frozen=True)
class WeighedLikelihood(Likelihood):
    """Policy loss `sft_is`."""

    name: ClassVar[str] = "sft_is"

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Negative log-likelihood per token [N], times the probability."""
        return -torch.exp(tokens.logprobs_N.detach()) * tokens.logprobs_N, {}


@dataclass(frozen=True)
class PhiLikelihood(Likelihood):
    """Policy loss `sft_phi`."""

    name: ClassVar[str] = "sft_phi"

    cutoff_prob: float = 1.0
    """Tokens at least this likely get no gradient; 1: none is left out."""

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Negative log-likelihood per token [N], times p (1 - p)."""
        return phi_likelihood(tokens.logprobs_N, self.cutoff_prob), {}


def phi_likelihood(logprobs_N: Tensor, cutoff_prob: float = 1.0) -> Tensor:
    """-sg(p (1 - p)) ln p per token [N]."""
    if cutoff_prob < 1.0:
        logprobs_N = logprobs_N.clamp(max=float(torch.log(torch.tensor(cutoff_prob))))
    p_N = torch.exp(logprobs_N.detach())
    return -p_N * (1 - p_N) * logprobs_N


SFT = AlgorithmType("sft", "Imitate written conversations.", "none", "sft", data="conversations")
CPT = AlgorithmType("cpt", "Go on reading raw text.", "none", "sft", data="texts")
