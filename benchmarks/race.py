"""Contestants that are loaded at the same time and work in turn.

Timings of a shared machine drift from one minute to the next. So ours and a peer do the same piece
of work one right after the other, again and again, and each pair gives a ratio of its own; while
one works, the others sleep.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agentscope_tuner.cache import cache_directory

Message = dict[str, Any]
SCRIPTS = Path(__file__).with_name("contestants")
LOGS = cache_directory() / "bench" / "logs"
OURS_ALONE = (
    "GOMP_SPINCOUNT",
    "LRU_CACHE_CAPACITY",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
)
"""Variables that importing `agentscope_tuner` sets for its own process: not for the peers."""
PAUSE_SECONDS = 0.5
"""Before each piece of work: the one before may still have threads that spin."""

BUSY = 0.05
"""Processors that an idle contestant may use."""


class Unavailable(Exception):
    """A contestant did not install, or ended when it should have answered."""


class Contestant:
    """A script under `contestants/` in a process of its own, and maybe an environment of its own.

    Args:
        name: In the results and of the log.
        script: File name under `contestants/`.
        settings: Handed to the script.
        python: Of a peer's environment; None: ours.
    """

    def __init__(
        self, name: str, script: str, settings: Mapping[str, Any], python: Path | None = None
    ) -> None:
        self.name = name
        self.pause_seconds = PAUSE_SECONDS
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / f"{name}.log"
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        if python is not None:
            environment = {k: v for k, v in environment.items() if k not in OURS_ALONE}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python or sys.executable), str(SCRIPTS / script), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                start_new_session=True,  # so that a server's workers end with it
            )
        try:
            self.about = self._receive()
        except Unavailable:
            self.close()
            raise

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Message) -> Message:
        """Have it work once, and return what it measured. Raises Unavailable if it ended."""
        assert self._process.stdin is not None
        time.sleep(self.pause_seconds)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._receive()

    def idle_share(self, seconds: float = 1.0) -> float:
        """Processors that it keeps busy (1.0: one of them) while nobody asks anything of it."""
        before = self._processor_seconds()
        time.sleep(seconds)
        return (self._processor_seconds() - before) / seconds

    def close(self) -> None:
        """End it and all that it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _receive(self) -> Message:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        message: Message = json.loads(line)
        return message

    def _ended(self) -> Unavailable:
        lines = self._log.read_text().strip().splitlines()
        return Unavailable(f"{self.name}: {lines[-1] if lines else 'ended'} ({self._log.name})")

    def _processor_seconds(self) -> float:
        process = psutil.Process(self._process.pid)
        times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
        return sum(t.user + t.system for t in times)


@dataclass(frozen=True, slots=True)
class Pair:
    """What ours and a peer measured on the same piece of work."""

    ours: Message
    peer: Message


def race(
    ours: Contestant,
    peers: Sequence[Contestant],
    request: Callable[[int], Message],
    repeats: int,
    first_seed: int = 0,
) -> tuple[dict[str, list[Pair]], dict[str, str]]:
    """Ours and each peer in turn; the first time warms up and does not count.

    `request` makes a piece of work from a seed. Every pair gets another one: an engine that has
    seen its prompts before would have them in its cache. Returns the pairs of each peer, and what
    became of peers that ended on the way.
    """
    pairs: dict[str, list[Pair]] = {peer.name: [] for peer in peers}
    failed: dict[str, str] = {}
    seeds = itertools.count(first_seed)
    for repeat in range(repeats + 1):
        for peer in peers:
            if peer.name in failed:
                continue
            work = request(next(seeds))
            measured = ours.ask(work)
            try:
                pair = Pair(measured, peer.ask(work))
            except Unavailable as error:
                failed[peer.name] = str(error)
                del pairs[peer.name]
                continue
            if repeat:
                pairs[peer.name].append(pair)
            say(f"{repeat}/{repeats} {peer.name}", measured, pair.peer)
        if not repeat:
            warn_of_busy([ours, *(peer for peer in peers if peer.name in pairs)])
    return pairs, failed


def say(what: str, ours: Message, peer: Message) -> None:
    """Show that it goes on."""
    seconds = [f"{answer['seconds']:.1f} s" for answer in (ours, peer) if "seconds" in answer]
    print(f"  {what}: {' against '.join(seconds)}", flush=True)


def warn_of_busy(contestants: Sequence[Contestant]) -> None:
    """Tell of those that take processor time from the others while they have nothing to do."""
    for contestant in contestants:
        if (share := contestant.idle_share()) > BUSY:
            print(f"! {contestant.name} keeps {share:.2f} processors busy while idle", flush=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of a value over the pairs, and the ratios ours / peer of each pair."""

    ours: float
    peer: float
    ratio: float
    spread: tuple[float, float]
    """The least and the greatest ratio."""

    @classmethod
    def of(cls, pairs: Iterable[Pair], value: Callable[[Message], float]) -> Comparison:
        """Compare one value of what was measured."""
        values = [(value(pair.ours), value(pair.peer)) for pair in pairs]
        ratios = [ours / peer for ours, peer in values]
        return cls(
            ours=statistics.median(ours for ours, _ in values),
            peer=statistics.median(peer for _, peer in values),
            ratio=statistics.median(ratios),
            spread=(min(ratios), max(ratios)),
        )


def start_all(
    stack: ExitStack, starters: Mapping[str, Callable[[], Contestant]]
) -> tuple[list[Contestant], dict[str, str]]:
    """Start contestants one after the other; whoever does not come up is named with the reason."""
    running: list[Contestant] = []
    missing: dict[str, str] = {}
    for name, start in starters.items():
        try:
            running.append(stack.enter_context(start()))
        except Unavailable as error:
            missing[name] = str(error)
    return running, missing
