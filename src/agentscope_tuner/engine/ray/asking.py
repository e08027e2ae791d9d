"""An actor that is asked, and every way that this may end.

Whatever goes wrong between driver and actor (it died, its node did, it says nothing any more)
becomes a `MemberLost` with one sentence. What the actor raised itself passes through as it is. A
full object store is neither: another actor would find no more room, so it is a `RunError`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray
import ray.cloudpickle
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from agentscope_tuner.engine.ray.store import FULL, no_room
from agentscope_tuner.errors import RunError, TunerError


class MemberLost(Exception):
    """An actor that cannot be counted on any more; says which, where, and why."""


class Asked:
    """An actor as the driver sees it: where it lives, and when it last said something."""

    def __init__(self, actor: Any, name: str) -> None:
        self._actor = actor
        self._name = name
        self._pid: int | None = None
        self._address: str | None = None
        self._seen: float | None = None
        """When it last answered, in Unix seconds."""
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lose(self, reason: str) -> None:
        """Count on it no more: everything that waits for it raises `MemberLost`."""
        if not self._lost.done():
            self._lost.set_exception(MemberLost(f"{self} {reason}"))
            self._lost.exception()  # nobody need be waiting

    def kill(self) -> None:
        """End the actor's process, whatever it does."""
        ray.kill(self._actor, no_restart=True)

    def __str__(self) -> str:
        node = "no node yet" if self._address is None else f"node {self._address}"
        process = "" if self._pid is None else f", process {self._pid}"
        seen = "never"
        if self._seen is not None:
            seen = time.strftime("%H:%M:%S", time.localtime(self._seen))
        return f"{self._name} on {node}{process} (last sign of life: {seen})"

    async def _ask(
        self,
        what: str,
        timeout_s: float,
        method: Any,
        *arguments: Any,
        late: type[MemberLost] = MemberLost,
        size: int | None = None,
    ) -> Any:
        """The answer to a call; see `_answer`.

        Raises RunError if a store has no room for its arguments, of `size` bytes.
        """
        try:
            return await self._answer(what, timeout_s, method, *arguments, late=late)
        except FULL as full:
            size = size or len(ray.cloudpickle.dumps(arguments))
            raise self._no_room(full, size, what) from None

    async def _answer(
        self,
        what: str,
        timeout_s: float,
        method: Any,
        *arguments: Any,
        late: type[MemberLost] = MemberLost,
    ) -> Any:
        """The answer to a call; raises `late` if there is none in time."""
        answer = asyncio.wrap_future(method.remote(*arguments).future())
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
            raise MemberLost(f"{self} died: {reason_of(error)}") from None
        except FULL:
            raise
        except RayTaskError as error:
            if isinstance(error.cause, TunerError):
                raise error.cause from None
            raise  # a fault of ours, with its traceback
        except RayError as error:
            raise MemberLost(f"{self} cannot be reached: {reason_of(error)}") from None
        self._seen = time.time()
        return result

    def _no_room(self, full: Exception, size: int, what: str) -> RunError:
        there = isinstance(full, RayTaskError)  # else it is the driver's own store
        node = self._address if there else ray.util.get_node_ip_address()
        return no_room(str(node), size, f"that {self} needs to {what}")


def _heard(answer: asyncio.Future[Any]) -> None:
    """Nobody need be waiting any more."""
    if not answer.cancelled():
        answer.exception()


def reason_of(error: Exception) -> str:
    """The one line of Ray's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "because" in line or "cause" in line.lower()]
    line = (told or lines or [type(error).__name__])[0]
    return line.partition(" Some common causes")[0].rstrip(".")[:300]
