"""How much is said on the terminal: by the levels of `logging`.

Progress (a run's steps, bars) is shown while the logger `agentscope_tuner.progress` lets INFO
through. Log lines are shown where the program has set `logging` up, and by Python's last resort, as
warnings on the standard error, where it has not.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # takes a while
    from rich.progress import Progress

Verbosity = Literal["quiet", "normal", "verbose"]

_ALL = logging.getLogger("agentscope_tuner")
_PROGRESS = logging.getLogger("agentscope_tuner.progress")
_PROGRESS.setLevel(logging.INFO)


def set_verbosity(verbosity: Verbosity) -> None:
    """For a program that is ours, the command line: `quiet` shows errors alone, `verbose` what we
    log for information, every rollout among it. Results are printed in any case."""
    _PROGRESS.setLevel(logging.WARNING if verbosity == "quiet" else logging.INFO)
    _ALL.setLevel(logging.INFO if verbosity == "verbose" else logging.NOTSET)
    assert logging.lastResort is not None
    logging.lastResort.setLevel(
        {"quiet": logging.ERROR, "normal": logging.WARNING, "verbose": logging.INFO}[verbosity]
    )
    logging.lastResort.setFormatter(VisibleFormatter("%(levelname)s %(name)s: %(message)s"))


def verbosity() -> Verbosity:
    """As it is set."""
    if not shows_progress():
        return "quiet"
    return "verbose" if _ALL.level == logging.INFO else "normal"


def shows_progress() -> bool:
    """Whether progress is shown."""
    return _PROGRESS.isEnabledFor(logging.INFO)


def progress_bars(*, disable: bool = False) -> Progress:
    """Bars on the standard error that are gone when they are done; none where none are shown."""
    from rich.console import Console
    from rich.progress import Progress

    hidden = disable or not shows_progress()
    return Progress(console=Console(stderr=True), transient=True, disable=hidden)


class VisibleFormatter(logging.Formatter):
    """What a model said reaches a log in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
