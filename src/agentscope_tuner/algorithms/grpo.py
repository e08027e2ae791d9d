"""Group-relative advantages: a rollout is compared with the others of its task.

For the rewards r of one group,

    advantage_i = (r_i - mean(r)) / (std(r) + epsilon)

with Bessel's correction in the standard deviation, given to every sampled token of every turn of
rollout i. Shao et al., "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
Models", 2024 (arXiv:2402.03300). Statistics are over rollouts, never over calls, so `grpo` and
`multi_step_grpo` differ in `enable_step_norm` alone. `rank_penalty`: He et al., 2025
(arXiv:2506.02355); `std_cal_level: batch`: Liu et al., 2025 (arXiv:2508.08221).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import ClassVar, Literal, get_args

import numpy as np

from agentscope_tuner.algorithms.advantage import GroupAdvantage, rewards_of
from agentscope_tuner.algorithms.token_rewards import trained_calls
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, RolloutGroup

StdLevel = Literal["group", "batch", "none"]


@dataclass(frozen=True)
class Grpo(GroupAdvantage):
    """Advantages of `grpo`. Raises InputError for a value that makes no sense."""

    name: ClassVar[str] = "grpo"
    aliases: ClassVar[tuple[str, ...]] = ("grpo_verl",)

    epsilon: float = 1e-6
    """Added to the standard deviation."""
    std_cal_level: StdLevel = "group"
    """Standard deviation over the group, over every reward of the step, or 1 (none)."""
    std_threshold: float | None = None
    """Groups whose standard deviation is at most this are not trained on; empty: all are."""
    rank_penalty: float | None = None
    """The i-th least likely of n rollouts keeps its reward times 1 - rank_penalty * i / n."""

    def __post_init__(self) -> None:
        if self.std_cal_level not in get_args(StdLevel):
            known = ", ".join(get_args(StdLevel))
            raise InputError(f"std_cal_level is {self.std_cal_level!r}; it must be one of {known}")
        if self.epsilon < 0:
            raise InputError(f"epsilon is {self.epsilon}; it must not be negative")

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Score every group; groups at or below the threshold are not trained on."""
        super().__call__(groups)
        if self.std_cal_level != "batch":
            return
        rewards = [reward for group in groups for reward in group.rewards]
        std = stdev(rewards) if len(rewards) > 1 else 0.0
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            if rollout.advantage is not None:
                rollout.advantage /= std + self.epsilon

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """See the module."""
        rewards = self._ranked(rollouts) if self.rank_penalty else rewards_of(rollouts)
        # `statistics` sums exactly, so equal rewards give exactly 0 and can be skipped later.
        center, std = mean(rewards), stdev(rewards)
        if self.std_threshold is not None and std <= self.std_threshold:
            return [None] * len(rollouts)
        scale = std + self.epsilon if self.std_cal_level == "group" else 1.0
        scored = zip(rewards, rollouts, strict=True)
        return [(reward - center) / scale * self.share(rollout) for reward, rollout in scored]

    def share(self, rollout: Rollout) -> float:
        """How much of its score a token of this rollout gets."""
        return 1.0

    def _ranked(self, rollouts: Sequence[Rollout]) -> list[float]:
        assert self.rank_penalty is not None
        likelihoods = [_mean_logprob(rollout) for rollout in rollouts]
        ranks = np.argsort(np.argsort(likelihoods, kind="stable"), kind="stable")
        factors = 1.0 - self.rank_penalty * ranks / len(rollouts)
        rewards = rewards_of(rollouts)
        return [reward * float(factor) for reward, factor in zip(rewards, factors, strict=True)]


@dataclass(frozen=True)
class MultiStepGrpo(Grpo):
    """Advantages of `multi_step_grpo`: the final score reaches every step of the rollout."""

    name: ClassVar[str] = "multi_step_grpo"
    aliases: ClassVar[tuple[str, ...]] = ("step_wise_grpo",)

    enable_step_norm: bool = False
    """Divide the score by the rollout's number of model calls."""

    def share(self, rollout: Rollout) -> float:
        """The score, or an equal part of it for every call."""
        steps = len(trained_calls(rollout))
        return 1.0 / steps if self.enable_step_norm and steps else 1.0


def _mean_logprob(rollout: Rollout) -> float:
    values = [np.asarray(s.logprobs)[s.trained()] for s in trained_calls(rollout)]
    return float(np.mean(np.concatenate(values))) if values else 0.0


GRPO = AlgorithmType("grpo", "Compare each rollout with the others of its task.", "grpo")
GRPO_VERL = AlgorithmType("grpo_verl", "Another name of grpo.", "grpo")
MULTI_STEP_GRPO = AlgorithmType(
    "multi_step_grpo",
    "grpo for agents of several calls: the final score reaches every call.",
    "multi_step_grpo",
)
