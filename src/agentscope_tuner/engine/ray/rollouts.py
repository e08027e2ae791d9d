"""The `RolloutSource` over a cluster: tasks become leases, results become groups again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from torch import Tensor

from agentscope_tuner.engine.ray.crew import Crew
from agentscope_tuner.engine.ray.leases import Lease
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.trajectory import Rollout, RolloutGroup


class RayRollouts:
    """Rolls out on the actors of a cluster."""

    def __init__(self, crew: Crew) -> None:
        """`crew` is started, and closed with this."""
        self._crew = crew
        self._numbers = count()

    async def rollout(
        self,
        tasks: Sequence[dict[str, Any]],
        *,
        group_size: int,
        label: str,
        seed: int,
        sampling: Sampling,
        on_done: Callable[[Rollout], None],
    ) -> list[RolloutGroup]:
        """See `RolloutSource.rollout`.

        Raises RunError if actors die again and again, and what a fault of ours raised in one.
        """
        leases = [
            Lease(next(self._numbers), label, group, index, task, seed, sampling)
            for group, task in enumerate(tasks)
            for index in range(group_size)
        ]
        results = self._crew.begin(leases, on_done)
        try:
            rollouts = iter(await asyncio.gather(*results))
        finally:
            self._crew.drop({lease.number for lease in leases})
        return [
            RolloutGroup(f"{label}-{group}", task, [next(rollouts) for _ in range(group_size)])
            for group, task in enumerate(tasks)
        ]

    def running(self) -> list[UnderWay]:
        """See `RolloutSource.running`; as the actors said at their last sign of life."""
        return self._crew.running()

    async def rest(self) -> None:
        """See `RolloutSource.rest`: the actors keep their weights, for those of them that are late
        or replaced."""

    async def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        """See `RolloutSource.adopt`; an actor that does not adopt them in time is replaced."""
        await self._crew.adopt(weights, version)

    async def close(self) -> None:
        """End all actors."""
        await self._crew.close()
