"""REC: the family of group-relative REINFORCE, with its switches (arXiv:2509.24203).

    loss = -W * A * ln pi * keep + regularizer

Its advantage is in `rec_advantage`. `weight` W: none
1; importance_sampling the ratio; gspo_importance_sampling the sample's; advantage exp(A / temp).
`clip_mode` keep: none all; one-side ratio <= 1 + high where A > 0, >= 1 - low where A < 0;
two-side both bounds; ring two-side, and beyond the prime bounds on the far side; gspo-one-side as
one-side with the sample's ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Scope, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.ppo import ratio
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError

CHOICES = {
    "clip_mode": ("none", "one-side", "two-side", "ring", "gspo-one-side"),
    "weight": ("none", "importance_sampling", "gspo_importance_sampling", "advantage"),
    "regularizer": ("none", "k2", "forward-kl"),
}


@dataclass(frozen=True)
class RecLoss(PolicyLoss):
    """Policy loss `rec`. Raises InputError for an unknown mode."""

    name: ClassVar[str] = "rec"
    zero_without_advantage: ClassVar[bool] = False

    epsilon_low: float = 0.2
    """How far below 1 the ratio may go."""
    epsilon_high: float = 0.2
    """How far above 1 the ratio may go."""
    epsilon_low_prime: float = 0.6
    """ring: below 1 by more than this is kept again where A > 0."""
    epsilon_high_prime: float = 2.0
    """ring: above 1 by more than this is kept again where A < 0."""
    clip_mode: str = "none"
    """Which tokens are kept."""
    weight: str = "none"
    """How a token is weighted."""
    temp: float = 1.0
    """Temperature of `weight: advantage`."""
    regularizer: str = "none"
    """k2: coef * (ln pi - ln pi_old)^2; forward-kl: -coef * ln pi."""
    regularizer_coef: float = 0.0
    """Weight of the regularizer."""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}"
                )
        if "gspo" in self.weight and "gspo" not in self.clip_mode:
            raise InputError("weight gspo_importance_sampling goes with clip_mode gspo-one-side")

    @property
    def scope(self) -> Scope:  # type: ignore[override]
        """A sample where its ratio counts."""
        return "sequence" if self.clip_mode == "gspo-one-side" else "token"

    def prepare(self, batch: Batch) -> None:
        """The samples' ratios."""
        if self.scope == "sequence":
            log_ratio_N = batch.columns["current"] - batch.columns["old"]
            batch.columns["ratio"] = torch.exp(batch.mean(log_ratio_N, batch.sample_N)).float()

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`: 1 where a token is left out."""
        logprobs_N, advantages_N = tokens.logprobs_N, tokens.advantages_N
        ratio_N = tokens.columns.get("ratio", ratio(logprobs_N.detach(), tokens.old_N))
        keep_N = self.keep(ratio_N, advantages_N)
        weight_N = torch.ones_like(ratio_N)
        if self.weight == "advantage":
            weight_N = torch.exp(advantages_N / self.temp)
        elif self.weight != "none":
            weight_N = ratio_N
        loss_N = -weight_N * advantages_N * logprobs_N * keep_N
        if self.regularizer == "k2":
            loss_N = loss_N + self.regularizer_coef * (logprobs_N - tokens.old_N).square()
        elif self.regularizer == "forward-kl":
            loss_N = loss_N - self.regularizer_coef * logprobs_N
        return loss_N, {"clip_fraction": 1 - keep_N.to(loss_N.dtype)}

    def keep(self, ratio_N: Tensor, advantages_N: Tensor) -> Tensor:
        """True where a token is kept [N]."""
        below_N, above_N = ratio_N <= 1 + self.epsilon_high, ratio_N >= 1 - self.epsilon_low
        match self.clip_mode:
            case "none":
                return torch.ones_like(below_N)
            case "one-side" | "gspo-one-side":
                return torch.where(advantages_N >= 0, below_N, above_N)
            case "two-side":
                return below_N & above_N
        far_N = torch.where(
            advantages_N >= 0,
            ratio_N <= 1 - self.epsilon_low_prime,
            ratio_N >= 1 + self.epsilon_high_prime,
        )
        return (below_N & above_N) | far_N


REC = AlgorithmType("rec", "Experiments with group-relative REINFORCE.", "rec", "rec")
