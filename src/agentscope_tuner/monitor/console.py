"""The terminal: a live display, or one line a step where the output is no terminal."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from agentscope_tuner.monitor.live import LiveArea
from agentscope_tuner.monitor.phases import Phase, Phases
from agentscope_tuner.monitor.progress import Progress, headline
from agentscope_tuner.monitor.summary import RunSummary, eval_rewards
from agentscope_tuner.monitor.text import duration
from agentscope_tuner.verbosity import shows_progress
from agentscope_tuner.visible import visible

_SILENCE_S = 60.0
"""Without a live display, a phase that takes longer than this says how far it is."""


class _Output(Console):
    """The standard output; a run goes on without it if nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ConsoleMonitor:
    """Shows a run to the person who started it. Called from one thread.

    Args:
        console: where to show it; None for the standard output, where progress is shown at all
            (`verbosity`).
    """

    def __init__(self, console: Console | None = None) -> None:
        self.phases = Phases()
        """What is shown of what the run does."""
        self._console = console or _Output(quiet=not shows_progress())
        self._progress = Progress(total_steps=0)
        self._live: LiveArea | None = None
        self._last_line = 0.0

    def start(self, total_steps: int, run_directory: Path, resumed_step: int = 0) -> None:
        """Begin with the run's place and length."""
        self._progress = Progress(total_steps, step=resumed_step)
        after = f", resumed after step {resumed_step}" if resumed_step else ""
        self._print(f"Tuning for {total_steps} steps{after}; run directory: {run_directory}")
        console = self._console
        if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
            self._live = LiveArea(self._console, lambda: self._progress, self.phases)
            self._live.start()

    def advanced(self, phase: Phase) -> None:
        """One more part of a phase is done."""
        if self._live is None and time.monotonic() - self._last_line > _SILENCE_S:
            done = f"{phase.done}/{phase.total} ({duration(phase.seconds)})"
            self._print(f"{self._step(self._progress.step)}  {phase.name} {done}")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Show the metrics of a training step, of evaluations, or of both."""
        if not all(key.startswith("eval/") for key in metrics):
            self._progress = self._progress.after_step(step, metrics, time.monotonic())
            if self._live is None:
                self._print(self._step_line(metrics))
        for name, reward in eval_rewards(metrics).items():
            self._print(f"{self._step(step)}  {name}: reward {reward:.3f}")

    def note(self, text: str) -> None:
        """Say one thing, in one line."""
        self._print(text)

    def stop(self) -> None:
        """Take the live display away, however the run ended; may be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def finish(self, summary: RunSummary) -> None:
        """End with rewards before and after, and the paths of what was written."""
        self.stop()
        if summary.changes:
            self._console.print(summary.table())
        width = max(map(len, summary.paths), default=0)
        for name, path in summary.paths.items():
            self._print(f"{name:<{width}}  {path}")

    def _step_line(self, metrics: Mapping[str, float]) -> str:
        progress = self._progress
        measure, value = headline(metrics)
        trend = "" if progress.trend is None else f" ({progress.trend:+.3f})"
        parts = [self._step(progress.step), f"{measure} {value:.3f}{trend}"]
        if "rollout/failed" in metrics:
            parts.append(f"failed {metrics['rollout/failed']:.0f}")
        if not math.isnan(progress.sampled_tokens_per_s):
            parts.append(f"{progress.sampled_tokens_per_s:,.0f} tok/s")
        if "time/step" in metrics:
            parts.append(f"{metrics['time/step']:.1f} s/step")
        left = progress.seconds_left(time.monotonic())
        if left is not None:
            parts.append(f"left {duration(left)}")
        return "  ".join(parts)

    def _step(self, step: int) -> str:
        total = str(self._progress.total_steps)
        return f"step {step:>{len(total)}}/{total}"

    def _print(self, text: str) -> None:
        # As it is: no markup in paths, no wrapping in a log file.
        self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
        self._last_line = time.monotonic()
