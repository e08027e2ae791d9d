"""Rollouts whose shaped reward is no finite number are not learnt from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.experience.base import Operator, leave_out, reward_of
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class InvalidRewardFilter(Operator):
    """What a workflow or judge gives is a finite number, or the rollout has failed; what the
    operators before this one have made of it may be none. It is in no statistics either."""

    name: ClassVar[str] = "invalid_reward_filter"

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark them."""
        for group in groups:
            for rollout in group.rollouts:
                reward = reward_of(rollout)
                if reward is not None and not math.isfinite(reward):
                    leave_out(self.name, [rollout])
