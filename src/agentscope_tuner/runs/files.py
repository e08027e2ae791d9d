"""A run directory, read when asked and kept up with while it grows. Nothing is written into it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from agentscope_tuner.monitor.jsonl import FILE_NAME as METRICS_FILE
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.frames import Frames
from agentscope_tuner.runs.table import RolloutTable

CONFIG_FILE = "config.yaml"
MAX_TEXT = 1 << 20
"""Bytes of a text file (configuration, log) that are shown: its end."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RunFiles:
    """What one run has written so far."""

    def __init__(self, directory: Path, frames: Frames | None = None) -> None:
        """`frames`: a cache that several runs share."""
        self.directory = directory
        self.table = RolloutTable(directory)
        """Call its `refresh` before looking."""
        self._frames = frames or Frames()

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

    def stored(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """The rollouts of these rows of the table, as they are stored.

        Raises InputError if a file is gone or damaged.
        """
        return self._frames.rollouts(self.directory, self.table.lines(rows))

    def text(self, name: str) -> str:
        """The end of one of the run's text files; empty if there is none."""
        path = self.directory / name
        if not path.is_file() or not path.resolve().is_relative_to(self.directory.resolve()):
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_TEXT))
            return file.read(MAX_TEXT).decode("utf-8", "replace")


def _flat(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    return [
        pair
        for key, value in tree.items()
        for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))
    ]
