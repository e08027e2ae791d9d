"""Groups whose rewards are all alike are not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agentscope_tuner.experience.base import Operator, leave_out, reward_of
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class RewardStdFilter(Operator):
    """Leave a group out if its rewards have a standard deviation (divided by their number) of at
    most the threshold, or if there are fewer than two."""

    name: ClassVar[str] = "reward_std_filter"

    threshold: float = 0.0
    """Groups that spread more than this are learnt from."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark the groups."""
        for group in groups:
            found = [reward_of(rollout) for rollout in group.rollouts]
            rewards = [reward for reward in found if reward is not None]
            if len(rewards) < 2 or float(np.std(rewards)) <= self.threshold:
                leave_out(self.name, group.rollouts)
