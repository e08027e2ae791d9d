"""Finished runs of the arithmetic example, a line each: what is kept is not played again."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished run."""

    program: str
    """Digest of the example that was run."""
    type: str
    """What was played: a learning rule, or a contestant."""
    seed: int
    curve: Mapping[int, float]
    """Held-out reward by step."""
    answers: int
    """Held-out answers of an evaluation."""
    samples: int
    """Rollouts that were learnt from."""
    cpu_seconds: float | None
    """Of the processor, for the whole run with its evaluations; None if it was not measured."""
    machine: str
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Entry:
        """From there."""
        return cls(**{**plain, "curve": {int(k): v for k, v in plain["curve"].items()}})

    @property
    def area(self) -> float:
        """Mean height of the held-out curve from the first to the last step."""
        points = sorted(self.curve.items())
        pairs = itertools.pairwise(points)
        total = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)
        return total / (points[-1][0] - points[0][0])

    @property
    def final(self) -> float:
        """Held-out reward at the end."""
        return self.curve[max(self.curve)]

    def steps_until(self, reward: float) -> float | None:
        """Where the curve, straight between evaluations, reaches this; None: nowhere."""
        for (a, low), (b, high) in itertools.pairwise(sorted(self.curve.items())):
            if high >= reward:
                return a + (b - a) * (reward - low) / (high - low)
        return None


def error(entries: Sequence[Entry], values: Sequence[float]) -> float:
    """Standard error of the mean over seeds; of one seed, that of so many answers of 0 or 1."""
    if len(values) > 1:
        return statistics.stdev(values) / math.sqrt(len(values))
    return math.sqrt(values[0] * (1 - values[0]) / entries[0].answers)


def by_type(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Runs of the same thing together."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.type, []).append(entry)
    return groups


def read_entries(path: Path) -> list[Entry]:
    """Every finished run that the file has."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Entry.read(json.loads(line)) for line in lines]


def of_program(entries: Sequence[Entry], program: str) -> list[Entry]:
    """Those of the example as it is now."""
    return [entry for entry in entries if entry.program == program]


def write_entries(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Keep them; returns them in the order of the file."""
    ordered = sorted(entries, key=lambda entry: (entry.type, entry.seed))
    path.write_text("".join(json.dumps(entry.plain()) + "\n" for entry in ordered))
    return ordered
