"""`run.log`: what a run said, with times: its notes, its steps, and everybody's warnings."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from agentscope_tuner.visible import visible

FILE_NAME = "run.log"


class RunLog:
    """Appends to the run's log file from `open` to `close`."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / FILE_NAME
        self._handler: logging.FileHandler | None = None

    def open(self) -> None:
        """Begin to take what is logged anywhere in the process at its level."""
        self._handler = _File(self._path, encoding="utf-8", errors="backslashreplace")
        self._handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.root.addHandler(self._handler)

    def say(self, text: str) -> None:
        """Write one line of the run's own."""
        if self._handler is not None:
            self._handler.handle(
                logging.LogRecord("run", logging.INFO, __file__, 0, text, None, None)
            )

    def close(self) -> None:
        """Take no more; may be called twice."""
        if self._handler is not None:
            logging.root.removeHandler(self._handler)
            with contextlib.suppress(OSError):  # as `_File.handleError`
                self._handler.close()
            self._handler = None


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: on a full disk the run itself says so, and not once a line."""


class _Formatter(logging.Formatter):
    """What a model said reaches a log in tracebacks, and the log a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
