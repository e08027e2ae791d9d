"""One rollout actor as the driver sees it: what it is asked, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from agentscope_tuner.engine.ray.asking import Asked, MemberLost
from agentscope_tuner.engine.ray.leases import Lease
from agentscope_tuner.engine.ray.patience import Patience
from agentscope_tuner.engine.ray.store import FULL
from agentscope_tuner.engine.ray.weights import Published
from agentscope_tuner.engine.ray.worker import News, OpenRollouts, RolloutWorker

_THREADS = 4
"""Of an actor for calls: one waits for news, one takes weights, one takes leases."""


class NoRoom(MemberLost):
    """It was not placed in time."""


class Member(Asked):
    """An actor with rollouts, from its start to its end."""

    def __init__(self, number: int, patience: Patience, resources: dict[str, float]) -> None:
        """Ask Ray for the actor; `resources` are `num_cpus` and `num_gpus`."""
        self.number = number
        self._patience = patience
        self._room = (
            f"room ({resources.get('num_cpus', 0):g} CPUs, {resources.get('num_gpus', 0):g} GPUs)"
        )
        actor: Any = ray.remote(RolloutWorker)
        options = {"max_concurrency": _THREADS, "max_restarts": 0, **resources}
        placed = actor.options(scheduling_strategy="SPREAD", **options).remote()
        super().__init__(placed, f"rollout actor {number}")

    async def open(self, open_rollouts: OpenRollouts) -> None:
        """Wait until the actor is placed and its models are loaded."""
        self._address = await self._ask(
            f"find {self._room}",
            self._patience.place_s,
            self._actor.__ray_call__,
            _node_address,
            late=NoRoom,
        )
        self._pid = await self._ask(
            "load its models", self._patience.open_s, self._actor.open, open_rollouts
        )

    async def run(self, leases: Sequence[Lease]) -> None:
        """Have it begin rollouts."""
        await self._ask("take its rollouts", self._patience.silence_s, self._actor.run, leases)

    async def collect(self) -> News:
        """What is new of its rollouts; empty now and then, as a sign of life."""
        silence_s, collect = self._patience.silence_s, self._actor.collect
        try:
            return await self._answer(
                "say anything", silence_s, collect, self._patience.heartbeat_s
            )
        except FULL as full:
            size = await self._ask("say how much it has", silence_s, self._actor.told_bytes)
            raise self._no_room(full, size, "say what came of its rollouts") from None

    async def fetch(self, weights: Published) -> None:
        """Have it hold new weights ready."""
        await self._ask(
            f"fetch weights {weights.version}",
            self._patience.weights_s,
            self._actor.fetch,
            weights.reference,
            weights.version,
            size=weights.size,
        )

    async def adopt(self, version: int) -> None:
        """Have it sample from the weights that it fetched."""
        await self._ask(
            f"adopt weights {version}", self._patience.weights_s, self._actor.adopt, version
        )


def _node_address(actor: object) -> str:
    address: str = ray.util.get_node_ip_address()
    return address
