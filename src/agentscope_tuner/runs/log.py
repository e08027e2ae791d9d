"""`run.log`: what a run said, with times: its notes, its steps, and everybody's warnings."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from agentscope_tuner.verbosity import VisibleFormatter

FILE_NAME = "run.log"


class RunLog:
    """Appends to the run's log file from `open` to `close`."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / FILE_NAME
        self._handler: _File | None = None

    def open(self) -> None:
        """Begin to take what is logged anywhere in the process at its level."""
        self._handler = _File(self._path, encoding="utf-8", errors="backslashreplace")
        self._handler.setFormatter(
            VisibleFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
        logging.root.addHandler(self._handler)

    def say(self, text: str) -> None:
        """Write one line of the run's own."""
        if self._handler is not None:
            self._handler.write(
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
    def handle(self, record: logging.LogRecord) -> bool:
        """Write it; and show it as Python would if there was no handler, since nobody sees this."""
        written = self.write(record)
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and not _is_handled(record, self):
            last.handle(record)
        return written

    def write(self, record: logging.LogRecord) -> bool:
        """Write it."""
        return bool(super().handle(record))

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: on a full disk the run itself says so, and not once a line."""


def _is_handled(record: logging.LogRecord, besides: logging.Handler) -> bool:
    """Whether a handler that somebody else has set up gets a record."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not besides for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
