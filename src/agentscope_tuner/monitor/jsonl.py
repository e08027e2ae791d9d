"""`metrics.jsonl`: one JSON object a step, and one an evaluation.

A line is on disk before the next step begins, so a killed run keeps all but at most the line that
was being written. Numbers that JSON does not know (NaN, infinities) are written as null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from agentscope_tuner.errors import RunError
from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.trajectory import Rollout

FILE_NAME = "metrics.jsonl"


class MetricsFile:
    """The monitor that every run has: appends each call of `log` to `metrics.jsonl`."""

    _file: BinaryIO

    def start(self, run: RunInfo) -> None:
        """Open the file, cut off behind the step that the run goes on from."""
        path = run.directory / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, _valid_bytes(path, run.resumed_step))
        self._file = path.open("ab")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line and wait until it is on disk."""
        record = {"step": step, **{key: _json_number(value) for key, value in metrics.items()}}
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        """Nothing: every conversation of the run is in `rollouts/` already."""

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the records of a `metrics.jsonl`, oldest first; `step` is an int, null becomes NaN.

    A last line without an end is left out: its writer was killed, or is just writing it.

    Raises:
        RunError: a line in the file is damaged.
    """
    return [
        {key: math.nan if value is None else value for key, value in record.items()}
        for _, record in _records(path)
    ]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Byte offset of each complete line's end, and its record."""
    end = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
            except ValueError as error:
                raise RunError(f"{path}, line {number}, is not JSON: {error}.") from error
            yield end, record


def _valid_bytes(path: Path, resumed_step: int | None) -> int:
    """How much of the file belongs to the steps up to `resumed_step`."""
    valid = 0
    if resumed_step:
        for end, record in _records(path):
            if record["step"] > resumed_step:
                break
            valid = end
    return valid


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
