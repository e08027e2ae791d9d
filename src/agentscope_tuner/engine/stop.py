"""A graceful stop: the first Ctrl-C or SIGTERM ends the run after its step, a second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from agentscope_tuner.monitor.console import ConsoleMonitor

EXIT_CODE = 130


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self, console: ConsoleMonitor) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the block runs (only the main thread can)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.requested:
                console.stop()
                # An exception would have to wait for the threads that sample, learn or save.
                os._exit(EXIT_CODE)
            self.requested = True
            console.note("stopping after this step and saving; Ctrl-C again stops at once")

        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, on_signal) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
