"""Online policy mirror descent: no ratio and no clipping, so it bears stale and replayed data.

    advantage_i = r_i - b;   loss = -A * ln pi(token) / (1 + tau)

with b the group's mean, or tau * ln mean(exp(r / tau)). Kimi k1.5, 2025 (arXiv:2501.12599);
appendix of arXiv:2505.17826. The tau of the baseline and of the loss are two settings. With tau 1
a step is half of grpo's; far off policy it wants a KL term, since nothing bounds how far bad
tokens are pushed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import ClassVar, Literal

from torch import Tensor

from agentscope_tuner.algorithms.advantage import GroupAdvantage, rewards_of
from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout


@dataclass(frozen=True)
class OpmdAdvantage(GroupAdvantage):
    """Advantages of `opmd`. Raises InputError for an unknown baseline or a tau of 0 or less."""

    name: ClassVar[str] = "opmd"
    aliases: ClassVar[tuple[str, ...]] = ("opmd_verl",)

    opmd_baseline: Literal["mean", "logavgexp"] = "mean"
    """What the reward is compared with."""
    tau: float = 1.0
    """Temperature of `logavgexp`."""

    def __post_init__(self) -> None:
        if self.opmd_baseline not in ("mean", "logavgexp"):
            raise InputError(
                f"opmd_baseline is {self.opmd_baseline!r}; it must be mean or logavgexp"
            )
        if self.tau <= 0:
            raise InputError(f"tau is {self.tau}; it must be positive")

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """See the module."""
        rewards = rewards_of(rollouts)
        baseline = mean(rewards)
        if self.opmd_baseline == "logavgexp":
            top = max(rewards)
            powers = mean(math.exp((reward - top) / self.tau) for reward in rewards)
            baseline = top + self.tau * math.log(powers)
        return [reward - baseline for reward in rewards]


@dataclass(frozen=True)
class OpmdLoss(PolicyLoss):
    """Policy loss `opmd`."""

    name: ClassVar[str] = "opmd"

    tau: float = 1.0
    """The loss is divided by 1 + tau."""

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N]."""
        return -tokens.advantages_N * tokens.logprobs_N / (1.0 + self.tau), {}


OPMD = AlgorithmType("opmd", "Stale or replayed rollouts.", "opmd", "opmd")
