"""The run's end of one rank, wherever it runs: what it is told, and whether it lives."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection
from typing import Any

_AT_ONCE = 65536


class Rank(ABC):
    """One rank. `readable` are what news of it arrive at."""

    def __init__(self, rank: int, node: str, process: int, calls: Connection, life: int) -> None:
        """Talk through `calls`; `life` is a file descriptor that its signs of life arrive at."""
        self.rank = rank
        self.calls = calls
        self._where = f"node {node}, process {process}"
        self._life = life
        os.set_blocking(life, False)
        self._seen = time.time()

    @abstractmethod
    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within so many seconds."""

    @abstractmethod
    def end(self) -> None:
        """Kill it; what it was doing is lost."""

    @abstractmethod
    def fate(self) -> str:
        """What has become of it, for a sentence."""

    @property
    def readable(self) -> tuple[Any, int]:
        """What to wait for: answers, and signs of life."""
        return self.calls, self._life

    def hear(self) -> None:
        """Take note of the signs of life so far. Raises EOFError if there can be no more."""
        while True:
            try:
                signs = os.read(self._life, _AT_ONCE)
            except BlockingIOError:
                return
            if not signs:
                raise EOFError
            self._seen = time.time()

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.time() - self._seen

    def close(self) -> None:
        """Let go of it: it ends by itself when it has nothing under way."""
        self.calls.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def silence(self) -> str:
        """That nothing is heard of it, for a sentence."""
        return f"has given no sign of life for {self.silent_s:.0f} s"

    def __str__(self) -> str:
        seen = time.strftime("%H:%M:%S", time.localtime(self._seen))
        return f"learner rank {self.rank} on {self._where} (last sign of life: {seen})"
