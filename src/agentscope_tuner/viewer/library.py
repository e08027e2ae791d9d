"""The runs that are looked at: found in a directory, known by names that the server made.

A client names a run by its id in this listing, never by a path.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import yaml

from agentscope_tuner.checkpoint.lock import is_held
from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.engine.runs import RunRow, find_runs
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import FILE_NAME as METRICS_FILE
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.index import index_path
from agentscope_tuner.runs.live import read_live
from agentscope_tuner.viewer.frames import Frames
from agentscope_tuner.viewer.table import RolloutTable
from agentscope_tuner.viewer.vocabulary import Vocabulary

CONFIG_FILE = "config.yaml"
MAX_TEXT = 1 << 20
"""Bytes of a text file (configuration, log) that are shown: its end."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Run:
    """One run directory, read when asked and kept up with while it grows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table = RolloutTable(directory)
        self._vocabulary: Vocabulary | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The text of its tokens."""
        if self._vocabulary is None or self._vocabulary.missing:
            self._vocabulary = Vocabulary(self.directory)
        return self._vocabulary

    def records(self) -> list[dict[str, float]]:
        """The lines of `metrics.jsonl`."""
        path = self.directory / METRICS_FILE
        return read_metrics(path) if path.is_file() else []

    def configuration(self) -> dict[str, Any]:
        """`config.yaml`, flat: keys joined by dots. Empty if it cannot be read."""
        try:
            tree = yaml.load((self.directory / CONFIG_FILE).read_bytes(), _Loader)
        except (OSError, yaml.YAMLError):
            return {}
        return dict(_flat(tree, ""))

    def text(self, name: str) -> str:
        """The end of one of the run's text files; empty if there is none."""
        path = self.directory / name
        if not path.is_file() or not path.resolve().is_relative_to(self.directory.resolve()):
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_TEXT))
            return file.read(MAX_TEXT).decode("utf-8", "replace")

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
                    self._runs[name] = Run(row.directory)
        return rows

    def run(self, name: str) -> Run:
        """The run of an id. Raises InputError if there is none."""
        if name not in self._runs:
            self.rows()
        if name not in self._runs:
            raise InputError(f"There is no run {name!r} here.")
        return self._runs[name]


def _flat(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    return [
        pair
        for key, value in tree.items()
        for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))
    ]
