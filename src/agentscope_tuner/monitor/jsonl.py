"""`metrics.jsonl`: one JSON object a step, and one an evaluation.

A line is on disk before the next step begins, so a killed run keeps all but at most the line that
was being written. Numbers that JSON does not know (NaN, infinities) are written as null.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.trajectory import Rollout

logger = logging.getLogger(__name__)

FILE_NAME = "metrics.jsonl"


class MetricsFile:
    """The monitor that every run has: appends each call of `log` to `metrics.jsonl`."""

    _file: FileIO

    def start(self, run: RunInfo) -> None:
        """Open the file, cut off behind the step that the run goes on from."""
        path = run.directory / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, _valid_bytes(path, run.resumed_step))
        # Without a buffer nothing is left to be written when a full disk is closed.
        self._file = path.open("ab", buffering=0)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line and wait until it is on disk."""
        record = {"step": step, **{key: _json_number(value) for key, value in metrics.items()}}
        line = memoryview(json.dumps(record, allow_nan=False).encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]
        os.fsync(self._file.fileno())

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        """Nothing: every conversation of the run is in `rollouts/` already."""

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the records of a `metrics.jsonl`, oldest first; `step` is an int, null becomes NaN.

    A last line without an end is left out: its writer was killed, or is just writing it. Damaged
    lines are named in a warning and passed over.
    """
    return [
        {key: math.nan if value is None else value for key, value in record.items()}
        for _, record in _records(path)
    ]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Byte offset of each whole line's end, and its record."""
    end = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = _record(line)
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                _name_damage(path, number, str(error))
            else:
                yield end, record


def _record(line: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line)
    if type(record.get("step")) is not int:
        raise ValueError("it has no step")
    for value in record.values():
        if value is not None:
            math.isfinite(value)  # raises TypeError if it is no number
    return record


@cache
def _name_damage(path: Path, number: int, problem: str) -> None:
    """Once a line, however often it is read."""
    logger.warning("%s, line %d, is damaged and is passed over: %s.", path, number, problem)


def _valid_bytes(path: Path, resumed_step: int | None) -> int:
    """How much of the file belongs to the steps up to `resumed_step`.

    That is up to the last such line, as a number before it may be damaged.
    """
    if resumed_step is None:
        return 0
    ends = (end for end, record in _records(path) if record["step"] <= resumed_step)
    return max(ends, default=0)


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
