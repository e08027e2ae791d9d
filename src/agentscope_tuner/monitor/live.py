"""The area at the bottom of a terminal that shows a run while everything else scrolls above it."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agentscope_tuner.monitor.phases import Phase, Phases
from agentscope_tuner.monitor.progress import Progress
from agentscope_tuner.monitor.text import duration, sparkline
from agentscope_tuner.visible import visible

_BAR_WIDTH = 32


class LiveArea:
    """Draws `progress()` four times a second, in a thread of its own, until it is stopped.

    What is printed or logged meanwhile, by whomever, appears above.
    """

    def __init__(self, console: Console, progress: Callable[[], Progress], phases: Phases) -> None:
        self._live = Live(
            get_renderable=lambda: draw(progress(), phases.now, time.monotonic()),
            console=console,
            transient=True,
        )
        self._handlers: list[logging.StreamHandler] = []

    def start(self) -> None:
        streams = {id(sys.stdout): "stdout", id(sys.stderr): "stderr"}
        self._live.start()
        # Log handlers hold the stream they were made with, which writes into the area.
        for handler in _stream_handlers():
            name = streams.get(id(handler.stream))
            if name is not None:
                handler.setStream(getattr(sys, name))
                self._handlers.append(handler)

    def stop(self) -> None:
        """Remove the area; does nothing if that is done already."""
        streams = {id(sys.stdout): "stdout", id(sys.stderr): "stderr"}
        names = [streams.get(id(handler.stream)) for handler in self._handlers]
        self._live.stop()
        for handler, name in zip(self._handlers, names, strict=True):
            if name is not None:
                handler.setStream(getattr(sys, name))
        self._handlers.clear()


def draw(progress: Progress, phase: Phase | None, now: float) -> RenderableType:
    """The run at the moment `now`, in a phase."""
    bars = Table.grid(padding=(0, 2))
    left = progress.seconds_left(now)
    bars.add_row(
        "step",
        ProgressBar(total=progress.total_steps, completed=progress.step, width=_BAR_WIDTH),
        f"{progress.step}/{progress.total_steps}",
        "" if left is None else f"{duration(left)} left",
    )
    if phase is not None:
        count = "" if phase.total is None else f"{phase.done}/{phase.total}"
        bar = ProgressBar(
            total=phase.total,
            completed=phase.done,
            width=_BAR_WIDTH,
            pulse=phase.total is None,
            animation_time=now,
        )
        bars.add_row(visible(phase.name), bar, count, duration(phase.seconds))
    return Group(bars, _numbers(progress)) if progress.history else bars


def _numbers(progress: Progress) -> Text:
    line = Text(f"{progress.measure} {progress.history[-1]:.3f}", style="bold")
    if progress.trend is not None:
        line.append(f" {'↑' if progress.trend >= 0 else '↓'} {progress.trend:+.3f}")
    line.append(f"  {sparkline(progress.history[-_BAR_WIDTH:])}", style="cyan")
    line.append(f"  failed {progress.failed}", style="red" if progress.failed else "dim")
    if not math.isnan(progress.sampled_tokens_per_s):
        line.append(f"  {progress.sampled_tokens_per_s:,.0f} tok/s", style="dim")
    return line


def _stream_handlers() -> list[logging.StreamHandler]:
    named = (logging.getLogger(name) for name in logging.root.manager.loggerDict)
    return [
        handler
        for logger in (logging.root, *named)
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
    ]
