"""The two signals that end a process gently, and the exit codes that say which it was."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM has come: what KeyboardInterrupt is to Ctrl-C."""


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Handle SIGTERM as `signal.default_int_handler` does SIGINT. Raises Terminated."""
    raise Terminated


RAISING: dict[signal.Signals, Callable[[int, FrameType | None], NoReturn]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: terminate,
}
"""The handlers of a process that has begun nothing yet."""


def ended_by(number: int) -> BaseException:
    """What a signal's own handler raises."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


def exit_code(number: int) -> int:
    """Of a process that a signal ended, as shells count: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + number
