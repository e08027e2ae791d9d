"""A graceful stop: the first Ctrl-C or SIGTERM ends the run after its step, a second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

EXIT_CODE = 130
_NOTE = "stopping after this step and saving; Ctrl-C again stops at once"


class Terminal(Protocol):
    """What a run is shown on."""

    def note(self, text: str) -> None:
        """Say one thing, in one line."""

    def stop(self) -> None:
        """Take a live display away."""


class StopRequest:
    """Whether somebody asked the run to stop.

    Args:
        at_once: there is nothing to save, so the first signal ends the process.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.requested = at_once
        self._terminal: Terminal | None = None

    @contextmanager
    def listening(self, terminal: Terminal) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the block runs; in the main thread, the only one that
        can. In another one `relaying` does, there."""
        self._terminal = terminal
        with self._handling():
            yield

    @contextmanager
    def relaying(self) -> Iterator[None]:
        """Handle them while this thread waits in the block for a run in another one, as it does
        where an event loop of somebody else's is under way (a notebook, `asyncio.run`)."""
        with self._handling():
            yield

    @contextmanager
    def _handling(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._on_signal) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if self._terminal is not None:
                self._terminal.stop()
            # An exception would have to wait for the threads that sample, learn or save.
            os._exit(EXIT_CODE)
        self.requested = True
        if self._terminal is not None:
            self._terminal.note(_NOTE)
        else:
            print(_NOTE, file=sys.stderr)
