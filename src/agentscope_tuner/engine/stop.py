"""A graceful stop: the first Ctrl-C or SIGTERM ends the run after its step, a second at once."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from agentscope_tuner.signals import exit_code

_PATIENCE_S = 1.0
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
        self.signal: int = signal.SIGINT
        """The last one that came."""
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
        # The signal may have interrupted a write to the terminal, or the start of a thread: what is
        # said is said by another thread, which waits for that, and started without `threading`.
        self.signal = number
        if self.requested:
            _thread.start_new_thread(self._leave, ())
            _thread.start_new_thread(self._leave_soon, ())
        else:
            self.requested = True
            _thread.start_new_thread(self._say, ())

    def _say(self) -> None:
        if self._terminal is not None:
            self._terminal.note(_NOTE)
        else:
            print(_NOTE, file=sys.stderr)

    def _leave(self) -> None:
        try:
            if self._terminal is not None:
                self._terminal.stop()
        finally:
            # An exception would have to wait for the threads that sample, learn or save.
            os._exit(exit_code(self.signal))

    def _leave_soon(self) -> None:
        """A terminal that takes nothing any more keeps no process."""
        time.sleep(_PATIENCE_S)
        os._exit(exit_code(self.signal))
