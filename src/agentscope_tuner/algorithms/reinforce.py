"""REINFORCE: the reward itself is the advantage. Williams, 1992."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True)
class Reinforce(Advantage):
    """Advantage `reinforce`."""

    name: ClassVar[str] = "reinforce"

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set the rewards."""
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            rollout.advantage = rollout.reward
