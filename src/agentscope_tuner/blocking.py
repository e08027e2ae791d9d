"""Naming the function that keeps the event loop waiting.

One that sleeps or computes in an async workflow or judge, rather than in a thread, holds up every
other rollout, and the endpoint that answers its own calls. A thread beside the loop looks at how
old the loop's last beat is, and if it is too old, at what the loop's thread is doing. The time in
which that thread only waited for a processor does not count: on a busy machine nobody is to blame.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import FrameType

PATIENCE_S = 1.0
"""What a function may take before it is named."""
_BEAT_S = PATIENCE_S / 4
_OURS = str(Path(__file__).parent)
_LIBRARIES = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<frozen",
    "<string>",  # what libraries write and run: methods of dataclasses and named tuples
    _OURS,
)

logger = logging.getLogger(__name__)


class BlockWatch:
    """Watches an event loop from `start`, called on its thread before it runs, to `stop`.

    Each function is named once, with file and line, as a warning of this module's logger.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._scheduling = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._beat = self._awake()
        self._named: set[tuple[str, str]] = set()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        self._tick()
        threading.Thread(target=self._watch, name="block-watch", daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._ended.set()

    def _tick(self) -> None:
        self._beat = self._awake()
        if not self._ended.is_set():
            self._loop.call_later(_BEAT_S, self._tick)

    def _watch(self) -> None:
        while not self._ended.wait(_BEAT_S):
            if self._loop.is_running() and self._awake() - self._beat > PATIENCE_S + _BEAT_S:
                self._name(sys._current_frames().get(self._thread_id))

    def _awake(self) -> float:
        """Seconds of a clock that stands while the loop's thread waits for a processor, where the
        system tells (Linux)."""
        try:
            waited_ns = int(self._scheduling.read_text().split()[1])
        except OSError:
            waited_ns = 0
        return time.monotonic() - waited_ns / 1e9

    def _name(self, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
            if frame.f_code.co_filename.startswith(_OURS):
                return  # our own work; what called it is not to blame
            frame = frame.f_back
        if frame is None:
            return
        code = frame.f_code
        if (function := (code.co_filename, code.co_qualname)) not in self._named:
            self._named.add(function)
            logger.warning(
                "%s blocks the event loop for over %g s (%s, line %d), and with it every rollout: "
                "await what takes long, or call it by `await asyncio.to_thread(...)`.",
                code.co_qualname,
                PATIENCE_S,
                code.co_filename,
                frame.f_lineno,
            )
