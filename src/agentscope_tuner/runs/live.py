"""`live.json`: what a run is doing right now, for those who look at it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentscope_tuner.monitor.phases import Phases
from agentscope_tuner.monitor.text import duration
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.runs.formats import LIVE
from agentscope_tuner.runs.index import task_digest, task_preview

FILE_NAME = "live.json"
MAX_RUNNING = 32
"""Rollouts under way that are listed: those that began first. All are counted."""
_LOOK_EVERY_S = 1.0
"""Between two looks at what is under way, as a phase begins."""
_LOOK_AT_LEAST_S = 10.0
"""The same, in a long one."""

_SAID = {"phase", "done", "total", "began"}

SeeRunning = Callable[[], Sequence[UnderWay]]
"""The rollouts that are under way; called from a thread of its own."""


class LiveFile:
    """Written at the beginning of each phase, and by a thread that looks whether anything has
    changed: every second at first, and less often the longer a phase takes."""

    def __init__(
        self,
        run_directory: Path,
        total_steps: int,
        phases: Phases,
        running: SeeRunning = lambda: (),
    ) -> None:
        self._path = run_directory / FILE_NAME
        self._total_steps = total_steps
        self._phases = phases
        self._running = running
        self._step = 0
        self._written: dict[str, Any] = {}
        """The phase, as the file has it."""
        self._under_way: dict[str, Any] = {}
        self._tasks: dict[str, dict[str, str]] = {}
        """What is said of their tasks, by the rollouts' ids."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._looking: threading.Thread | None = None

    def begin(self, step: int) -> None:
        """A phase has begun, after `step` steps."""
        with self._lock:
            self._step = step
            self._write(self._phase())
        if self._looking is None:
            self._looking = threading.Thread(target=self._look, name="live", daemon=True)
            self._looking.start()

    def end(self) -> None:
        """The run does nothing any more."""
        self._ended.set()
        if self._looking is not None:
            self._looking.join()
        self._path.unlink(missing_ok=True)

    def _look(self) -> None:
        while not self._ended.wait(self._pause_s()):
            under_way = self._see()
            with self._lock:
                phase = self._phase()
                if phase != self._written or under_way != self._under_way:
                    self._under_way = under_way
                    with contextlib.suppress(OSError):  # the run's own writes meet it as well
                        self._write(phase)

    def _pause_s(self) -> float:
        so_far = time.time() - self._written.get("began", 0.0)
        return min(max(_LOOK_EVERY_S, so_far / 2), _LOOK_AT_LEAST_S)

    def _see(self) -> dict[str, Any]:
        running = self._running()
        shown = running[:MAX_RUNNING]
        self._tasks = {one.id: self._tasks.get(one.id) or _about(one) for one in shown}
        return {
            "running": [
                {
                    "id": one.id,
                    **self._tasks[one.id],
                    "began": round(one.began, 3),
                    "attempt": one.attempt,
                    "calls": one.calls,
                }
                for one in shown
            ],
            "running_count": len(running),
        }

    def _phase(self) -> dict[str, Any]:
        if (phase := self._phases.now) is None:
            return {}
        return {
            "phase": phase.name,
            "step": self._step,
            "done": phase.done,
            "total": phase.total,
            "began": phase.began,
        }

    def _write(self, phase: dict[str, Any]) -> None:
        self._written = phase
        beside = self._path.with_name(f".{FILE_NAME}.tmp")
        content = {
            "format": LIVE,
            **phase,
            "total_steps": self._total_steps,
            "updated": time.time(),
            **self._under_way,
        }
        beside.write_text(json.dumps(content) + "\n")
        os.replace(beside, self._path)  # not synced: worth nothing after a power cut


def read_live(run_directory: Path) -> dict[str, Any] | None:
    """What the run is doing; None if it does not say."""
    try:
        live = json.loads((run_directory / FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return live if isinstance(live, dict) and live.keys() >= _SAID else None


def in_words(live: Mapping[str, Any]) -> str:
    """What a run is doing, and for how long."""
    parts = f" {live['done']}/{live['total']}" if live["total"] else ""
    return f"{live['phase']}{parts}, {duration(max(0.0, time.time() - live['began']))}"


def _about(one: UnderWay) -> dict[str, str]:
    return {"task": task_digest(one.task), "about": task_preview(one.task)}
