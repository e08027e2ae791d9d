"""Going on without the slowest tasks of a step.

Once enough tasks are done, the rest has a time of grace; what is not done then is ended. Its
rollouts are in the record: those that were done as they are, the others as failed. Slow tasks are
learnt from less often then: where that matters, give them time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from agentscope_tuner.experience.base import leave_out
from agentscope_tuner.tasks import Task
from agentscope_tuner.trajectory import Rollout, RolloutError, RolloutGroup, Trajectory

NAME = "over_rollout"
_MESSAGE = "The step went on without it (explorer.over_rollout)."

DrawOne = Callable[[int, Callable[[Rollout], None]], Coroutine[Any, Any, RolloutGroup]]
"""Draws the group of the task of a number, and tells of each of its rollouts that is done."""


@dataclass(frozen=True, slots=True)
class OverRollout:
    """How long a step waits for its tasks."""

    ratio: float
    """The part of the tasks that it may go on without."""
    grace_s: float
    """Seconds that the rest has once the others are done."""
    keeps_partial: bool
    """Whether the finished rollouts of an unfinished task are learnt from."""

    def enough(self, tasks: int) -> int:
        """How many of so many tasks have to be done."""
        return math.ceil(tasks * (1 - Fraction(str(self.ratio))))

    async def draw(
        self, tasks: Sequence[Task], label: str, group_size: int, draw_one: DrawOne
    ) -> list[RolloutGroup]:
        """The groups of all tasks; those that were not waited for have failed rollouts."""
        done: list[list[Rollout]] = [[] for _ in tasks]
        draws = [asyncio.create_task(draw_one(n, done[n].append)) for n in range(len(tasks))]
        try:
            await _wait_for(draws, self.enough(len(tasks)), None)
            await _wait_for(draws, len(tasks), self.grace_s)
        finally:
            for draw in draws:
                draw.cancel()
            await asyncio.wait(draws)
        groups = []
        for number, (task, draw) in enumerate(zip(tasks, draws, strict=True)):
            if draw.cancelled():
                groups.append(self._unfinished(f"{label}-{number}", task, group_size, done[number]))
            else:
                groups.append(draw.result())
        return groups

    def _unfinished(
        self, group: str, task: Task, size: int, done: Sequence[Rollout]
    ) -> RolloutGroup:
        error = RolloutError("timeout", _MESSAGE)
        known = {rollout.id: rollout for rollout in done}
        ids = [f"{group}-0-{index}" for index in range(size)]
        rollouts = [known.get(i) or Rollout(i, task, Trajectory(), error=error) for i in ids]
        if not self.keeps_partial:
            leave_out(NAME, rollouts)
        return RolloutGroup(f"{group}-0", task, rollouts)


async def _wait_for(
    draws: Sequence[asyncio.Task[RolloutGroup]], count: int, timeout_s: float | None
) -> None:
    """Until so many are done, or the time is over; raises what one of them raised."""
    deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
    pending = {draw for draw in draws if not draw.done()}
    while pending and len(draws) - len(pending) < count:
        left = None if deadline is None else deadline - asyncio.get_running_loop().time()
        if left is not None and left <= 0:
            return
        finished, pending = await asyncio.wait(
            pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        for draw in finished:
            draw.result()


def unfinished(groups: Sequence[RolloutGroup]) -> int:
    """How many rollouts were ended so."""
    rollouts = (rollout for group in groups for rollout in group.rollouts)
    return sum(r.error is not None and r.error.message == _MESSAGE for r in rollouts)
