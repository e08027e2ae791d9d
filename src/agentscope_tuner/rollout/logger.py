"""The logger that one rollout's workflow and judge are handed: its lines stay with the rollout."""

from __future__ import annotations

import logging

from agentscope_tuner.plain_text import plain_text
from agentscope_tuner.trajectory import LogLine

MAX_LINES = 1000
"""Lines that are kept of a rollout; the next one says that there were more."""

MAX_LINE = 10_000
"""Characters that are kept of a line."""

_TEXT = logging.Formatter("%(message)s")


class RolloutLogger(logging.Logger):
    """Keeps every line, and passes on to `behind` what that one would have logged itself."""

    def __init__(self, behind: logging.Logger) -> None:
        super().__init__(behind.name, logging.DEBUG)
        self._behind = behind
        self.lines: list[LogLine] = []

    def handle(self, record: logging.LogRecord) -> None:
        """Take one record, from whatever thread."""
        if len(self.lines) < MAX_LINES:
            self.lines.append(LogLine(record.created, record.levelname, _text(record)))
        elif len(self.lines) == MAX_LINES:
            self.lines.append(LogLine(record.created, "WARNING", "further lines were not kept"))
        if self._behind.isEnabledFor(record.levelno):
            self._behind.handle(record)


def _text(record: logging.LogRecord) -> str:
    try:
        text = _TEXT.format(record)
    except (TypeError, ValueError, KeyError):  # its arguments do not fit; logging forgives that
        text = f"{record.msg} {record.args}"
    return plain_text(text, MAX_LINE)
