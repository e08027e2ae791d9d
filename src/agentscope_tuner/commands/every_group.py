"""The operator of planned steps in which every group teaches something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from agentscope_tuner.experience.base import Operator, reward_of
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class EveryGroupTeaches(Operator):
    """Learn from rewards of which no two are the same: a group with one reward is not learnt from,
    so a step that has such groups takes less time and memory than one may."""

    name: ClassVar[str] = "every_group_teaches"

    since: int
    """The first such step, counted from 1."""

    def __post_init__(self) -> None:
        self._random = Random(0)

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Shape the rewards of those steps' groups."""
        for group in groups:
            if _step_of(group) >= self.since:
                for rollout in group.rollouts:
                    if (reward := reward_of(rollout)) is not None:
                        rollout.shaped_reward = reward + self._random.random()


def _step_of(group: RolloutGroup) -> int:
    """From `step12-3`, or `step12-more1-3` of one that was drawn again."""
    return int(group.id.removeprefix("step").partition("-")[0])
