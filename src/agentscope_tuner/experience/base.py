"""What an operator is: it looks at groups that were just drawn and says what is learnt from them.

An operator takes nothing away: every rollout stays in its group and in the record. It marks:

* `Rollout.left_out`: its name, at a rollout that is not to be learnt from. Such a rollout still
  counts in its group's statistics (an advantage over a group's better half alone is biased), unless
  the whole group is left out, or its reward is no number;
* `Rollout.shaped_reward`: what is learnt in place of the reward that workflow or judge gave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from agentscope_tuner.trajectory import Rollout, RolloutGroup


class Operator:
    """One operator. Subclasses are dataclasses: their fields are its `args`."""

    name: ClassVar[str]
    replaces: int = 0
    """How often, at most, a step draws further tasks in place of the groups that it left out."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark what was just drawn for a step; called in the order of the steps."""
        raise NotImplementedError

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """What is to be logged of all groups of a step."""
        return {f"operator/{self.name}/left_out": float(len(left_out_by(self.name, groups)))}

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from step to step, as plain data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


def reward_of(rollout: Rollout) -> float | None:
    """The reward that is learnt: the shaped one if there is one; None: it failed."""
    return rollout.reward if rollout.shaped_reward is None else rollout.shaped_reward


def is_learnt(group: RolloutGroup) -> bool:
    """Whether anything of a group is learnt from, as far as operators go."""
    return any(not rollout.left_out for rollout in group.rollouts)


def leave_out(name: str, rollouts: Sequence[Rollout]) -> None:
    """Mark rollouts that nobody has left out before."""
    for rollout in rollouts:
        rollout.left_out = rollout.left_out or name


def left_out_by(name: str, groups: Sequence[RolloutGroup]) -> list[Rollout]:
    """What an operator has left out."""
    return [r for group in groups for r in group.rollouts if r.left_out == name]


def statistic(rollout: Rollout, key: str) -> float | None:
    """A number of a rollout: a metric, by its whole name or without `judge/` or `workflow/`, or
    `response_tokens` or `turns`; None if it has none."""
    metrics = rollout.metrics
    for name in (key, f"judge/{key}", f"workflow/{key}"):
        if name in metrics:
            return metrics[name]
    trajectory = rollout.trajectory
    own = {"response_tokens": trajectory.sampled_tokens, "turns": len(trajectory.calls)}
    return float(own[key]) if key in own else None


@contextmanager
def as_learnt(groups: Sequence[RolloutGroup]) -> Iterator[list[RolloutGroup]]:
    """The groups that are learnt from; inside the block they have the rewards that are learnt."""
    kept = [group for group in groups if is_learnt(group)]
    rollouts = [rollout for group in kept for rollout in group.rollouts]
    before = [rollout.reward for rollout in rollouts]
    for rollout in rollouts:
        reward = reward_of(rollout)
        rollout.reward = reward if reward is not None and math.isfinite(reward) else None
    try:
        yield kept
    finally:
        for rollout, reward in zip(rollouts, before, strict=True):
            rollout.reward = reward
