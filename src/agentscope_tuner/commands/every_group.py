"""The operator of a planned step in which every group teaches something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from agentscope_tuner.experience.base import Operator, reward_of
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class EveryGroupTeaches(Operator):
    """Learn from rewards of which no two are the same, in one step: a group with one reward is not
    learnt from, so a step that has such groups takes less time and memory than one may."""

    name: ClassVar[str] = "every_group_teaches"

    step: int
    """The step, counted from 1."""

    def __post_init__(self) -> None:
        self._random = Random(0)

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Shape the rewards of that step's groups."""
        for group in groups:
            if group.id.startswith(f"step{self.step}-"):
                for rollout in group.rollouts:
                    if (reward := reward_of(rollout)) is not None:
                        rollout.shaped_reward = reward + self._random.random()
