"""All rollout actors of a run: kept up, dealt leases, given weights.

There is one task for each place. It starts an actor, gives it the current weights, deals it leases,
takes its results; when the actor is lost, it takes the leases back and starts another. So a node
that joins fills the place of one that is gone, and samples from what the others sample from.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import ray
from torch import Tensor

from agentscope_tuner.engine.ray.arrays import from_arrays
from agentscope_tuner.engine.ray.asking import MemberLost
from agentscope_tuner.engine.ray.leases import Lease, LeaseTable
from agentscope_tuner.engine.ray.member import Member, NoRoom
from agentscope_tuner.engine.ray.patience import Patience
from agentscope_tuner.engine.ray.store import FULL, no_room, small_stores
from agentscope_tuner.engine.ray.weights import Published, bytes_of, wrapped
from agentscope_tuner.engine.ray.worker import News, OpenRollouts
from agentscope_tuner.errors import RunError
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.trajectory import Rollout

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 256
"""Rollouts that an actor holds if nothing else is said: its sampler runs no more."""


FREED_S = 5.0
"""For a store to free what nobody refers to any more, before it counts as full."""


class Crew:
    """The rollout actors of a run.

    Args:
        open_rollouts: runs in each actor and opens what it rolls out with.
        size: how many actors there are.
        resources: of each, `num_cpus` and `num_gpus`.
        most_at_once: rollouts that one actor holds; None: `MOST_AT_ONCE`.
        patience: how long anything is waited for.
    """

    def __init__(
        self,
        open_rollouts: OpenRollouts,
        *,
        size: int,
        resources: Mapping[str, float],
        most_at_once: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._open_rollouts = open_rollouts
        self._size = size
        self._resources = dict(resources)
        self._most = most_at_once or MOST_AT_ONCE
        self._patience = patience or Patience()
        self._leases = LeaseTable()
        self._results: dict[int, tuple[Lease, asyncio.Future[Rollout]]] = {}
        """What is still to come, by the lease's number."""
        self._serving: dict[int, Member] = {}
        """By their place: those that have the weights. Only they are dealt leases."""
        self._published: Published | None = None
        self._publishing = asyncio.Lock()
        self._failure: Exception | None = None
        self._tending: list[asyncio.Task[None]] = []
        self._started = asyncio.Event()
        self._putting = DaemonThreadPool(1, "weights")
        self._handing: set[asyncio.Future[None]] = set()
        """Leases on their way to actors."""
        self._told: set[str] = set()
        self._running: dict[int, list[UnderWay]] = {}
        """What each place had under way when it was last heard of."""

    async def start(self, weights: Mapping[str, Tensor] | None) -> None:
        """Start all actors with these weights as version 0; None: with those that they load.

        Raises what opening one raises, and RunError if there is no place for one.
        """
        try:
            if weights is not None:
                if (told := small_stores(bytes_of(weights))) is not None:
                    logger.warning("%s", told)
                await self.adopt(weights, 0)
            self._tending = [asyncio.create_task(self._tend(place)) for place in range(self._size)]
            await self._started.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            await self.close()
            raise

    def begin(
        self, leases: Sequence[Lease], on_done: Callable[[Rollout], None]
    ) -> list[asyncio.Future[Rollout]]:
        """Have rollouts done; their results, in the order of the leases."""

        def tell(result: asyncio.Future[Rollout]) -> None:
            if not result.cancelled() and result.exception() is None:
                on_done(result.result())

        loop = asyncio.get_running_loop()
        results: list[asyncio.Future[Rollout]] = [loop.create_future() for _ in leases]
        for lease, result in zip(leases, results, strict=True):
            result.add_done_callback(tell)
            self._results[lease.number] = lease, result
            if self._failure is not None:
                result.set_exception(self._failure)
        self._leases.add(leases)
        self._deal()
        return results

    def running(self) -> list[UnderWay]:
        """What was under way when the actors were last heard of. Called from any thread."""
        wanted = {lease.name: lease.task for lease, _ in list(self._results.values())}
        told = [one for place in list(self._running.values()) for one in place]
        return [replace(one, task=wanted[one.id]) for one in told if one.id in wanted]

    def drop(self, numbers: set[int]) -> None:
        """Want no more results of these leases."""
        self._leases.drop(numbers)
        for number in numbers:
            self._results.pop(number, None)

    async def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Publish weights, have all actors hold them ready, then have all sample from them.

        Whoever does not is lost, and has them when its place is filled again. Raises RunError if a
        store has no room for them.
        """
        async with self._publishing:
            self._published = None  # so that a store need not hold both
            self._published = await self._putting.run(lambda: _put(weights, version))
            await self._each(partial(Member.fetch, weights=self._published))
            await self._each(partial(Member.adopt, version=version))

    async def close(self) -> None:
        """End all actors, which are nobody's any more."""
        for task in self._tending:
            task.cancel()
        await asyncio.gather(*self._tending, return_exceptions=True)
        self._published = None
        self._putting.shutdown()

    async def _each(self, call: Callable[[Member], Awaitable[None]]) -> None:
        """Call every serving actor; those that fail are lost."""

        async def one(member: Member) -> None:
            try:
                await call(member)
            except MemberLost as lost:
                member.lose(str(lost))

        await asyncio.gather(*(one(member) for member in list(self._serving.values())))

    async def _tend(self, place: int) -> None:
        """Keep a place filled."""
        losses = 0
        number = place
        while True:
            member = Member(number, self._patience, self._resources)
            finished = 0
            try:
                await self._install(place, member)
                while True:
                    finished += self._take(place, await member.collect())
                    self._deal()
            except MemberLost as lost:
                losses = 1 if finished else losses + 1
                member.lose(str(lost))  # who else waits for it
                self._serving.pop(place, None)
                self._running.pop(place, None)
                self._let_go(place, lost, losses)
            except Exception as error:
                self._fail(error)
            finally:
                self._serving.pop(place, None)
                member.kill()
            if self._failure is not None:
                return
            number += self._size
            self._deal()
            await asyncio.sleep(min(60.0, self._patience.backoff_s * 2 ** (losses - 1)))

    async def _install(self, place: int, member: Member) -> None:
        """Open an actor, and let it serve once it has the weights that all others have."""
        await member.open(self._open_rollouts)
        async with self._publishing:
            if self._published is not None:
                await member.fetch(self._published)
                await member.adopt(self._published.version)
            self._serving[place] = member
        if len(self._serving) == self._size:
            self._started.set()
        self._deal()

    def _deal(self) -> None:
        """Give what waits to those who can take it."""
        for place, leases in self._leases.deal(dict.fromkeys(self._serving, self._most)).items():
            member = self._serving[place]
            task = asyncio.ensure_future(self._hand(member, leases))
            self._handing.add(task)
            task.add_done_callback(self._handing.discard)

    async def _hand(self, member: Member, leases: Sequence[Lease]) -> None:
        try:
            await member.run(leases)
        except MemberLost as lost:
            member.lose(str(lost))
        except Exception as error:
            self._fail(error)

    def _let_go(self, place: int, why: MemberLost, losses: int) -> None:
        """Take back what a lost actor held, and end the run if that helps no more."""
        leases = self._leases.lose(place)
        most = self._patience.most_losses
        worst = max(leases, key=self._leases.losses_of, default=None)
        if worst is not None and self._leases.losses_of(worst) >= most:
            self._fail(
                RunError(
                    f"{most} actors were lost while each had rollout {worst.name} under way; look "
                    f"at what that one does. The last loss: {why}."
                )
            )
        elif not self._started.is_set() and isinstance(why, NoRoom):
            self._fail(RunError(f"The rollout actors cannot be started: {why}."))
        elif not self._serving and losses >= most:
            self._fail(RunError(f"No rollout actor is left, and none can be started: {why}."))
        else:
            logger.warning(
                "%s; its %d rollouts go to others, and its place is filled again", why, len(leases)
            )

    def _fail(self, error: Exception) -> None:
        """End the run: whoever waits for a rollout gets this error."""
        self._failure = self._failure or error
        for _, result in self._results.values():
            if not result.done():
                result.set_exception(self._failure)
        self._started.set()

    def _take(self, place: int, news: News) -> int:
        """Count results; returns how many counted."""
        self._running[place] = news.running
        for name, level, text in news.log:
            if text not in self._told:  # every actor may say it
                self._told.add(text)
                logging.getLogger(name).log(level, "%s", text)
        if news.fault is not None:
            raise news.fault
        counted = 0
        for number, rollout in news.rollouts:
            if self._leases.close(place, number):
                lease, result = self._results.pop(number)
                result.set_result(from_arrays(rollout, lease.task))
                counted += 1
        return counted


def _put(weights: Mapping[str, Tensor], version: int) -> Published:
    weights = dict(weights)  # those with adapters are merged once, not with each attempt
    size, deadline = bytes_of(weights), time.monotonic() + FREED_S
    while True:
        try:
            return Published(ray.put(wrapped(weights)), version, size)
        except FULL:
            if time.monotonic() > deadline:
                node = ray.util.get_node_ip_address()
                raise no_room(node, size, f"of weights {version}") from None
            time.sleep(0.1)
