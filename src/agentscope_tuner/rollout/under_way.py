"""Rollouts that are being made right now, for those who look on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agentscope_tuner.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A rollout that has begun and not ended, at one moment."""

    id: str
    task: dict[str, Any]
    began: float
    """In Unix seconds."""
    attempt: int
    calls: int
    """Answers of the model in this attempt, so far."""


@dataclass(slots=True)
class Begun:
    """The same, as it goes on."""

    task: dict[str, Any]
    began: float
    attempt: int = 1
    trajectory: Trajectory = field(default_factory=Trajectory)
    """Of this attempt."""


class Running:
    """The rollouts that a process has under way. Read from any thread."""

    def __init__(self) -> None:
        self._by_id: dict[str, Begun] = {}

    @contextmanager
    def begun(self, rollout_id: str, task: dict[str, Any]) -> Iterator[Begun]:
        """A rollout is under way while the block runs."""
        one = self._by_id[rollout_id] = Begun(task, time.time())
        try:
            yield one
        finally:
            del self._by_id[rollout_id]

    def now(self) -> list[UnderWay]:
        """Those of this moment, in the order in which they began."""
        return [
            UnderWay(rollout_id, one.task, one.began, one.attempt, len(one.trajectory.calls))
            for rollout_id, one in list(self._by_id.items())
        ]
