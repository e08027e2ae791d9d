"""One actor as the driver sees it: where it lives, when it last said something, what it was asked.

Whatever goes wrong between driver and actor (it died, its node did, it says nothing any more)
becomes a `MemberLost` with one sentence. What the actor raised itself passes through as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from agentscope_tuner.engine.ray.leases import Lease
from agentscope_tuner.engine.ray.patience import Patience
from agentscope_tuner.engine.ray.worker import News, OpenRollouts, RolloutWorker
from agentscope_tuner.errors import TunerError

_THREADS = 4
"""Of an actor for calls: one waits for news, one takes weights, one takes leases."""


class MemberLost(Exception):
    """An actor that cannot be counted on any more; says which, where, and why."""


class NoRoom(MemberLost):
    """It was not placed in time."""


class Member:
    """An actor with rollouts, from its start to its end."""

    def __init__(self, number: int, patience: Patience, resources: dict[str, float]) -> None:
        """Ask Ray for the actor; `resources` are `num_cpus` and `num_gpus`."""
        self.number = number
        self._patience = patience
        self._room = (
            f"room ({resources.get('num_cpus', 0):g} CPUs, {resources.get('num_gpus', 0):g} GPUs)"
        )
        self._pid: int | None = None
        self._node = "no node yet"
        self._seen: float | None = None
        """When it last answered, in Unix seconds."""
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        actor: Any = ray.remote(RolloutWorker)
        options = {"max_concurrency": _THREADS, "max_restarts": 0, **resources}
        self._actor = actor.options(scheduling_strategy="SPREAD", **options).remote()

    async def open(self, open_rollouts: OpenRollouts) -> None:
        """Wait until the actor is placed and its models are loaded."""
        placed = self._actor.__ray_call__.remote(_node_address)
        self._node = await self._ask(
            placed, self._patience.place_s, f"find {self._room}", late=NoRoom
        )
        opening = self._actor.open.remote(open_rollouts)
        self._pid = await self._ask(opening, self._patience.open_s, "load its models")

    async def run(self, leases: Sequence[Lease]) -> None:
        """Have it begin rollouts."""
        sent = self._actor.run.remote(leases)
        await self._ask(sent, self._patience.silence_s, "take its rollouts")

    async def collect(self) -> News:
        """What is new of its rollouts; empty now and then, as a sign of life."""
        news = self._actor.collect.remote(self._patience.heartbeat_s)
        return await self._ask(news, self._patience.silence_s, "say anything")

    async def fetch(self, weights: ray.ObjectRef, version: int) -> None:
        """Have it hold new weights ready."""
        fetched = self._actor.fetch.remote(weights, version)
        await self._ask(fetched, self._patience.weights_s, f"fetch weights {version}")

    async def adopt(self, version: int) -> None:
        """Have it sample from the weights that it fetched."""
        adopted = self._actor.adopt.remote(version)
        await self._ask(adopted, self._patience.weights_s, f"adopt weights {version}")

    def lose(self, reason: str) -> None:
        """Count on it no more: everything that waits for it raises `MemberLost`."""
        if not self._lost.done():
            self._lost.set_exception(MemberLost(f"{self} {reason}"))
            self._lost.exception()  # nobody need be waiting

    def kill(self) -> None:
        """End the actor's process, whatever it does."""
        ray.kill(self._actor, no_restart=True)

    def __str__(self) -> str:
        process = "" if self._pid is None else f", process {self._pid}"
        seen = "never"
        if self._seen is not None:
            seen = time.strftime("%H:%M:%S", time.localtime(self._seen))
        return f"rollout actor {self.number} on {self._node}{process} (last sign of life: {seen})"

    async def _ask(
        self, asked: Any, timeout_s: float, what: str, late: type[MemberLost] = MemberLost
    ) -> Any:
        """The answer to a call; raises `late` if there is none in time."""
        answer = asyncio.wrap_future(asked.future())
        answer.add_done_callback(_heard)
        await asyncio.wait(
            {answer, self._lost}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if self._lost.done():
            self._lost.result()
        if not answer.done():
            raise late(f"{self} did not {what} within {timeout_s:g} s")
        try:
            result = answer.result()
        except ActorDiedError as error:
            raise MemberLost(f"{self} died: {_reason(error)}") from None
        except RayTaskError as error:
            if isinstance(error.cause, TunerError):
                raise error.cause from None
            raise  # a fault of ours, with its traceback
        except RayError as error:
            raise MemberLost(f"{self} cannot be reached: {_reason(error)}") from None
        self._seen = time.time()
        return result


def _heard(answer: asyncio.Future[Any]) -> None:
    """Nobody need be waiting any more."""
    if not answer.cancelled():
        answer.exception()


def _node_address(actor: object) -> str:
    return f"node {ray.util.get_node_ip_address()}"


def _reason(error: Exception) -> str:
    """The one line of Ray's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "because" in line or "cause" in line.lower()]
    line = (told or lines or [type(error).__name__])[0]
    return line.partition(" Some common causes")[0].rstrip(".")[:300]
