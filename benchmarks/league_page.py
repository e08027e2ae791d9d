"""The league's table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from entries import Entry, by_type, error
from machine import lettered

DEMO = "multi_step_grpo"
"""The example's own type."""


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


def beyond(groups: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Types whose area is beyond the demo's by more than two standard errors of the difference."""

    def of(name: str) -> tuple[float, float]:
        areas = [entry.area for entry in groups[name]]
        return statistics.mean(areas), error(groups[name], areas)

    if DEMO not in groups:
        return []
    mean, spread = of(DEMO)
    several = {name: of(name) for name, runs in groups.items() if len(runs) > 1}
    return [name for name, (m, e) in several.items() if m - mean > 2 * math.hypot(e, spread)]


def page(entries: Sequence[Entry], left_out: Mapping[str, str], planned: int) -> str:
    """All of it, the largest area first."""
    groups = by_type(entries)
    ranked = sorted(
        groups.items(), key=lambda item: -statistics.mean(entry.area for entry in item[1])
    )
    first, samples = entries[0], sorted({entry.samples for entry in entries})
    letters = lettered(sorted(entry.machine for entry in entries))
    told = "; ".join(f"{letter}: {machine}" for machine, letter in letters.items())
    better = ", ".join(f"`{name}`" for name in beyond(groups)) or "none"
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
