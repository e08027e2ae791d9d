"""Rollouts whose reward is below a threshold are not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.experience.base import Operator, leave_out, reward_of
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class RewardFilter(Operator):
    """Learn from what has a reward of at least the threshold.

    The others stay in their group's statistics. (Trinity-RFT takes them away before, which biases
    the baseline.)
    """

    name: ClassVar[str] = "reward_filter"

    threshold: float = 0.0
    """The least reward that is learnt from."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark the worse ones."""
        for group in groups:
            for rollout in group.rollouts:
                reward = reward_of(rollout)
                if reward is not None and reward < self.threshold:
                    leave_out(self.name, [rollout])
