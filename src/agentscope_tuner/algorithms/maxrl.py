"""MaxRL: the mean reward as the scale, so that rare successes on hard tasks weigh most.

    advantage_i = (r_i - mean(r)) / (mean(r) + 1e-6),  r >= 0

It climbs the likelihood of success to higher orders than the expected reward does.
arXiv:2602.02710.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import ClassVar

from agentscope_tuner.algorithms.advantage import GroupAdvantage, rewards_of
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import RunError
from agentscope_tuner.trajectory import Rollout


@dataclass(frozen=True)
class MaxRl(GroupAdvantage):
    """Advantages of `maxrl`. Raises RunError for a negative reward."""

    name: ClassVar[str] = "maxrl"

    epsilon: float = 1e-6
    """Added to the mean."""

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """See the module."""
        rewards = rewards_of(rollouts)
        if min(rewards) < 0:
            worst = rollouts[rewards.index(min(rewards))]
            raise RunError(
                f"maxrl needs rewards of at least 0, and rollout {worst.id} has {worst.reward:g}: "
                "shift the judge's rewards, or take grpo"
            )
        center = mean(rewards)
        return [(reward - center) / (center + self.epsilon) for reward in rewards]


MAXRL = AlgorithmType("maxrl", "Hard tasks with rewards of 0 and 1.", "maxrl")
