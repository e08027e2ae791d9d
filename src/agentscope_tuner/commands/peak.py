"""The most memory that a block of code has taken."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil
import torch

INTERVAL_S = 0.02


class PeakMemory:
    """Bytes on a device beyond those that were taken before: this process's resident size, looked
    at fifty times a second, or what torch has reserved of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._before = self._most = 0

    @property
    def peak(self) -> int:
        """So far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device) - self._before
        return max(self._most, self._now()) - self._before

    def __enter__(self) -> Self:
        self._before = self._now()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _now(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.memory_reserved(self._device)
        size: int = self._process.memory_info().rss
        return size

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            self._most = max(self._most, self._now())
