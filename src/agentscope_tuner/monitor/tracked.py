"""Going on with a run at a tracker that cannot take back what it was told.

Steps that are run again after a crash are not told twice: what was logged first stays. (The run's
own `metrics.jsonl` and TensorBoard do forget them.)
"""

from __future__ import annotations

import json
import os

from agentscope_tuner.monitor.base import RunInfo


class TrackedRun:
    """The tracker's id for a run and the last step it was told, kept in the run directory.

    Args:
        run: the run; one that starts from the beginning is a new one to the tracker too.
        type: the monitor's type; the file is `monitor/<type>/run.json`.
    """

    def __init__(self, run: RunInfo, type: str) -> None:
        self.directory = run.directory / "monitor" / type
        self.directory.mkdir(parents=True, exist_ok=True)
        self._path = self.directory / "run.json"
        self.id: str | None = None
        """None: the tracker has not seen the run."""
        self._told_before = -1
        if run.resumed_step is not None and self._path.exists():
            record = json.loads(self._path.read_text())
            self.id, self._told_before = record["id"], record["step"]

    def is_news(self, step: int) -> bool:
        """Whether no process before this one has logged `step`."""
        return step > self._told_before

    def begin(self, id: str) -> None:
        """Keep the tracker's id of the run for the processes after this one."""
        self.id = id
        self._save(self._told_before)

    def told(self, step: int) -> None:
        """Keep that the tracker knows `step`."""
        self._save(step)

    def _save(self, step: int) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"id": self.id, "step": step}))
        os.replace(temporary, self._path)
