"""Group-relative advantages: a rollout is compared with the others of its task.

For the rewards r of one group,

    advantage_i = (r_i - mean(r)) / (std(r) + epsilon)

with Bessel's correction in the standard deviation, given to every sampled token of every turn of
rollout i. Shao et al., "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
Models", 2024 (arXiv:2402.03300).

A failed rollout has no reward. It is left out of the statistics and gets no advantage, and a group
with fewer than two rewards gets none at all: there is nothing to compare with, and a raw reward is
no advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal, get_args

from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, RolloutGroup

StdLevel = Literal["group", "batch", "none"]


@dataclass(frozen=True, slots=True)
class GroupAdvantage:
    """Advantages of `grpo`. Raises InputError for a value that makes no sense."""

    epsilon: float = 1e-6
    std_cal_level: StdLevel = "group"
    """Standard deviation over the group, over every reward of the batch, or none (Liu et al.,
    "Understanding R1-Zero-Like Training", 2025); the mean is always the group's."""
    std_threshold: float | None = None
    """Groups whose standard deviation is at most this are not trained on; None: all are."""

    def __post_init__(self) -> None:
        if self.std_cal_level not in get_args(StdLevel):
            known = ", ".join(get_args(StdLevel))
            raise InputError(f"std_cal_level is {self.std_cal_level!r}; it must be one of {known}")
        if self.epsilon < 0:
            raise InputError(f"epsilon is {self.epsilon}; it must not be negative")

    def __call__(self, groups: Sequence[RolloutGroup]) -> list[list[float | None]]:
        """One advantage a rollout of each group; None where the rollout is not trained on."""
        rewards = [reward for group in groups for reward in group.rewards]
        batch_std = stdev(rewards) if len(rewards) > 1 else 0.0
        return [self._of_group(group, batch_std) for group in groups]

    def _of_group(self, group: RolloutGroup, batch_std: float) -> list[float | None]:
        nothing: list[float | None] = [None] * len(group.rollouts)
        if len(group.rewards) < 2:
            return nothing
        # `statistics` sums exactly, so equal rewards give exactly 0 and can be skipped later.
        center, group_std = mean(group.rewards), stdev(group.rewards)
        if self.std_threshold is not None and group_std <= self.std_threshold:
            return nothing
        std = batch_std if self.std_cal_level == "batch" else group_std
        scale = 1.0 if self.std_cal_level == "none" else std + self.epsilon
        return [
            None if r.reward is None else (r.reward - center) / scale * self._share(r)
            for r in group.rollouts
        ]

    def _share(self, rollout: Rollout) -> float:
        """How much of its score a token of this rollout gets."""
        return 1.0


@dataclass(frozen=True, slots=True)
class MultiStepGroupAdvantage(GroupAdvantage):
    """Advantages of `multi_step_grpo`: the final score reaches every step of the rollout."""

    enable_step_norm: bool = False
    """Divide the score by the rollout's number of model calls."""

    def _share(self, rollout: Rollout) -> float:
        steps = sum(1 for _ in rollout.trajectory.sampled_segments())
        return 1.0 / steps if self.enable_step_norm and steps else 1.0
