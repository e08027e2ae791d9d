"""The league's table."""

from __future__ import annotations

import datetime
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from machine import lettered

DEMO = "multi_step_grpo"
"""The example's own type."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished run."""

    program: str
    """Digest of the example that was run."""
    type: str
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


def error(entries: Sequence[Entry], values: Sequence[float]) -> float:
    """Standard error of the mean over seeds; of one seed, that of so many answers of 0 or 1."""
    if len(values) > 1:
        return statistics.stdev(values) / math.sqrt(len(values))
    return math.sqrt(values[0] * (1 - values[0]) / entries[0].answers)


def row(name: str, entries: Sequence[Entry], letters: Mapping[str, str]) -> str:
    """One type's; `letters` stand for machines."""
    areas, finals = [e.area for e in entries], [e.final for e in entries]
    seconds = [e.cpu_seconds for e in entries if e.cpu_seconds is not None]
    spread = f" ± {error(entries, areas):.3f}" if len(entries) > 1 else ""
    cells = (
        f"`{name}`",
        str(len(entries)),
        f"{statistics.mean(areas):.3f}{spread}",
        f"{statistics.mean(finals):.3f} ± {error(entries, finals):.3f}",
        f"{statistics.mean(seconds):.0f}" if seconds else "",
        ", ".join(sorted({letters[e.machine] for e in entries})),
        min(e.date for e in entries),
    )
    return f"| {' | '.join(cells)} |"


def beyond(by_type: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Types whose area is beyond the demo's by more than two standard errors of the difference."""

    def of(name: str) -> tuple[float, float]:
        areas = [entry.area for entry in by_type[name]]
        return statistics.mean(areas), error(by_type[name], areas)

    if DEMO not in by_type:
        return []
    mean, spread = of(DEMO)
    several = {name: of(name) for name, runs in by_type.items() if len(runs) > 1}
    return [name for name, (m, e) in several.items() if m - mean > 2 * math.hypot(e, spread)]


def page(entries: Sequence[Entry], left_out: Mapping[str, str], planned: int) -> str:
    """All of it, the largest area first."""
    by_type: dict[str, list[Entry]] = {}
    for entry in entries:
        by_type.setdefault(entry.type, []).append(entry)
    ranked = sorted(
        by_type.items(), key=lambda item: -statistics.mean(entry.area for entry in item[1])
    )
    first, samples = entries[0], sorted({entry.samples for entry in entries})
    letters = lettered(sorted(entry.machine for entry in entries))
    told = "; ".join(f"{letter}: {machine}" for machine, letter in letters.items())
    better = ", ".join(f"`{name}`" for name in beyond(by_type)) or "none"
    reasons: dict[str, list[str]] = {}
    for name, why in left_out.items():
        reasons.setdefault(why, []).append(f"`{name}`")
    without = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
    return f"""# The league

`make league`: the arithmetic example ([results.md](results.md) describes it) under each
`algorithm_type`, everything else as the example has it: model, tasks and their order, learning
rate, {" or ".join(map(str, samples))} rollouts in {max(first.curve)} steps. No rule was searched
for its best settings: this says what it does with its defaults here, not which is best.

{len(entries)} of {planned} runs are finished. Machines: {told}. Without `amx_bf16` the example
computes in float32, else in bfloat16, so that runs of one seed begin with other samples.

| type | seeds | area under the held-out curve | final held-out reward | processor s | on | date |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(row(name, runs, letters) for name, runs in ranked)}

The area is the mean height of the curve. Errors are standard errors of the mean over seeds; of a
single seed that of {first.answers} answers, and none for the area. Processor seconds are those of
the whole run on its cores, start and evaluations with it.

Of the types with several seeds {better} is beyond the demo's own, `{DEMO}`, by more than
two standard errors of the difference.

Not played: {without}.
"""
