"""What takes no time in an actor: all that remains is the crew's own work."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.rollout.under_way import Running, UnderWay
from agentscope_tuner.trajectory import Rollout, Sampled, Segment, Trajectory


class StubRollouts:
    """Answers as `LocalRollouts` does, after `seconds`, with so many tokens."""

    def __init__(self, seconds: float, tokens: int) -> None:
        self._seconds = seconds
        self._tokens = tokens
        self._version = 0
        self._running = Running()

    async def run_one(
        self,
        task: dict[str, Any],
        group: int,
        index: int,
        *,
        label: str,
        seed: int,
        sampling: Sampling,
    ) -> Rollout:
        if task.get("fault"):
            raise ValueError("a fault of ours")
        name = f"{label}-{group}-{index}"
        with self._running.begun(name, task):
            await asyncio.sleep(self._seconds)
        size = self._tokens
        sampled = Sampled([-0.5] * size, [False] * size, "policy", self._version)
        segments = [Segment(None, [group] * size), Segment(0, [index] * size, sampled)]
        metrics = {"process": float(os.getpid())}
        return Rollout(name, task, Trajectory(segments), reward=1.0, metrics=metrics)

    def running(self) -> list[UnderWay]:
        return self._running.now()

    async def adopt(self, weights: Any, version: int) -> None:
        self._version = version


async def open_stub(seconds: float = 0.0, tokens: int = 8) -> StubRollouts:
    """For a crew."""
    return StubRollouts(seconds, tokens)
