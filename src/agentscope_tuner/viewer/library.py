"""The runs that are looked at: found in a directory, known by names that the server made.

A client names a run by its id in this listing, never by a path.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from agentscope_tuner.checkpoint.lock import is_held
from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import FILE_NAME as METRICS_FILE
from agentscope_tuner.runs.files import RunFiles
from agentscope_tuner.runs.frames import Frames
from agentscope_tuner.runs.index import index_path
from agentscope_tuner.runs.listing import RunRow, find_runs
from agentscope_tuner.runs.live import read_live
from agentscope_tuner.viewer.vocabulary import Vocabulary


class Run(RunFiles):
    """One run directory, with the text of its tokens and its pulse."""

    def __init__(self, directory: Path, frames: Frames) -> None:
        super().__init__(directory, frames)
        self._vocabulary: Vocabulary | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The text of its tokens."""
        if self._vocabulary is None or self._vocabulary.missing:
            self._vocabulary = Vocabulary(self.directory)
        return self._vocabulary

    def pulse(self) -> dict[str, Any]:
        """What tells whether anything has changed, and what the run is doing."""
        sizes = {}
        for path in (
            self.directory / METRICS_FILE,
            index_path(self.directory),
            self.directory / STATE_FILE,
        ):
            try:
                stat = path.stat()
                sizes[path.name] = [stat.st_size, stat.st_mtime, stat.st_ino]
            except OSError:
                sizes[path.name] = [0, 0, 0]
        alive = is_held(self.directory)
        return {
            "files": sizes,
            "alive": alive,
            "live": read_live(self.directory) if alive else None,
        }


class Library:
    """Every run below a directory, or the one that it is."""

    def __init__(self, directory: Path) -> None:
        """Raises InputError if there is no run."""
        self.directory = directory
        self.frames = Frames()
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        self.rows()

    def rows(self) -> dict[str, RunRow]:
        """The runs that are there now by their ids, the one that changed last first."""
        rows = {}
        for row in reversed(find_runs(self.directory)):
            name, number = row.name, 2
            while name in rows:
                name, number = f"{row.name} ({number})", number + 1
            rows[name] = row
        with self._lock:
            for name, row in rows.items():
                if name not in self._runs or self._runs[name].directory != row.directory:
                    self._runs[name] = Run(row.directory, self.frames)
        return rows

    def run(self, name: str) -> Run:
        """The run of an id. Raises InputError if there is none."""
        if name not in self._runs:
            self.rows()
        if name not in self._runs:
            raise InputError(f"There is no run {name!r} here.")
        return self._runs[name]
