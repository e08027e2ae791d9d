"""The actor that rolls out: a sampler, and the user's workflows and judges beside it.

The user's code runs on an event loop and a thread of its own, guarded as on one machine
(`event_loop`). Ray's threads never wait for it: an agent that blocks its loop for minutes makes its
worker slow, not silent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

import ray.cloudpickle
from torch import Tensor

from agentscope_tuner.engine.local import LocalRollouts
from agentscope_tuner.engine.ray.arrays import to_arrays
from agentscope_tuner.engine.ray.leases import Lease
from agentscope_tuner.engine.ray.weights import Parcel, unwrapped
from agentscope_tuner.event_loop import run_to_completion
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.trajectory import Rollout

OpenRollouts = Callable[[], Awaitable[LocalRollouts]]


@dataclass(slots=True)
class News:
    """What happened since the last time that somebody asked."""

    rollouts: list[tuple[int, Rollout]] = field(default_factory=list)
    """By the lease's number, as `to_arrays` makes them."""
    log: list[tuple[str, int, str]] = field(default_factory=list)
    """Name of the logger, level, text."""
    fault: Exception | None = None
    """A fault of ours, with which the run ends."""
    running: list[UnderWay] = field(default_factory=list)
    """The rollouts that are under way, without their tasks: the driver has those."""


Inbox = queue.SimpleQueue[Callable[[News], None]]
"""What is to be told, from any thread."""


class RolloutWorker:
    """The actor. Called by the driver only, from several of Ray's threads at once.

    No method is a coroutine: Ray would then run all of them on one loop, in turn.
    """

    def __init__(self) -> None:
        self._news: Inbox = queue.SimpleQueue()
        self._told = News()
        self._fetched: tuple[Parcel, int] | None = None
        self._side = _UsersSide(self._news)

    def open(self, open_rollouts: OpenRollouts) -> int:
        """Load the model and whatever else rollouts need; returns this process's number.

        Raises what `open_rollouts` raises.
        """
        logging.getLogger("agentscope_tuner").addHandler(_Telling(self._news))
        serve = partial(run_to_completion, self._side.serve(open_rollouts))
        threading.Thread(target=serve, name="rollouts", daemon=True).start()
        self._side.opened.result()
        return os.getpid()

    def run(self, leases: Sequence[Lease]) -> None:
        """Begin these rollouts; `collect` tells when they are done."""
        self._side.begin(leases)

    def collect(self, wait_s: float) -> News:
        """What is new, at the latest after `wait_s` seconds: it may be nothing."""
        news = News()
        try:
            self._news.get(timeout=wait_s)(news)
            while True:
                self._news.get_nowait()(news)
        except queue.Empty:
            news.running = self._side.running()
            self._told = news
            return news

    def told_bytes(self) -> int:
        """The size of what `collect` told last."""
        return len(ray.cloudpickle.dumps(self._told))

    def fetch(self, parcel: Parcel, version: int) -> None:
        """Hold new weights ready: they are on this node now."""
        self._fetched = parcel, version

    def adopt(self, version: int) -> None:
        """Sample from the weights that were fetched."""
        assert self._fetched is not None, "weights are fetched before they are adopted"
        parcel, fetched = self._fetched
        assert fetched == version, f"fetched version {fetched}, told to adopt {version}"
        self._side.adopt(unwrapped(parcel), version)
        self._fetched = None


class _UsersSide:
    """What runs on the event loop that workflows and judges share."""

    def __init__(self, news: Inbox) -> None:
        self._news = news
        self.opened: Future[tuple[asyncio.AbstractEventLoop, LocalRollouts]] = Future()
        self._running: set[asyncio.Future[None]] = set()

    async def serve(self, open_rollouts: OpenRollouts) -> None:
        """Open, and then stay until the process ends."""
        loop = asyncio.get_running_loop()
        try:
            self.opened.set_result((loop, await open_rollouts()))
        except BaseException as error:
            self.opened.set_exception(error)
        else:
            await loop.create_future()

    def begin(self, leases: Sequence[Lease]) -> None:
        """Run rollouts, from another thread."""
        loop, rollouts = self.opened.result()

        def start() -> None:
            for lease in leases:
                task = loop.create_task(self._run(rollouts, lease))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

        loop.call_soon_threadsafe(start)

    def running(self) -> list[UnderWay]:
        """What is under way, from another thread."""
        _, rollouts = self.opened.result()
        return [replace(one, task={}) for one in rollouts.running()]

    def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Wait until new weights are in use, in another thread."""
        loop, rollouts = self.opened.result()
        asyncio.run_coroutine_threadsafe(rollouts.adopt(weights, version), loop).result()

    async def _run(self, rollouts: LocalRollouts, lease: Lease) -> None:
        try:
            rollout = await rollouts.run_one(
                lease.task,
                lease.group,
                lease.index,
                label=lease.label,
                seed=lease.seed,
                sampling=lease.sampling,
            )
            done = lease.number, to_arrays(rollout)
            self._news.put(lambda news: news.rollouts.append(done))
        except Exception as fault:
            told = fault  # `fault` is unbound when the block is left
            self._news.put(lambda news: setattr(news, "fault", told))


class _Telling(logging.Handler):
    """Sends warnings to the driver, which shows them as its own."""

    def __init__(self, news: Inbox) -> None:
        super().__init__(logging.WARNING)
        self._news = news

    def emit(self, record: logging.LogRecord) -> None:
        line = record.name, record.levelno, self.format(record)
        self._news.put(lambda news: news.log.append(line))
