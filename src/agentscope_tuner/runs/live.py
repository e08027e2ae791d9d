"""`live.json`: what a run is doing right now, for those who look at it from outside."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from agentscope_tuner.runs.formats import LIVE

FILE_NAME = "live.json"
_EVERY_S = 0.5
"""Between two writes within a phase."""


class LiveFile:
    """Written at the beginning of each phase, and at most twice a second within one."""

    def __init__(self, run_directory: Path, total_steps: int) -> None:
        self._path = run_directory / FILE_NAME
        self._total_steps = total_steps
        self._state: dict[str, Any] = {}
        self._written = 0.0

    def phase(self, name: str, step: int, total: int | None = None) -> None:
        """Something begins, after `step` steps, that has `total` parts if they can be counted."""
        self._state = {
            "format": LIVE,
            "phase": name,
            "step": step,
            "total_steps": self._total_steps,
            "done": 0,
            "total": total,
            "began": time.time(),
        }
        self._write()

    def advance(self) -> None:
        """One more part is done."""
        self._state["done"] += 1
        if time.monotonic() - self._written > _EVERY_S:
            self._write()

    def end(self) -> None:
        """The run does nothing any more."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = time.monotonic()
        beside = self._path.with_name(f".{FILE_NAME}.tmp")
        beside.write_text(json.dumps({**self._state, "updated": time.time()}) + "\n")
        os.replace(beside, self._path)  # not synced: worth nothing after a power cut


def read_live(run_directory: Path) -> dict[str, Any] | None:
    """What the run is doing; None if it does not say."""
    try:
        live = json.loads((run_directory / FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return live if isinstance(live, dict) else None
