"""The page and the pictures of the arithmetic example over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from entries import Entry, by_type, error, read_entries
from families import FAMILIES, Family
from machine import lettered
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OURS = "agentscope-tuner"
TRL = "TRL"
GOAL = 0.6
"""The held-out reward whose steps are counted."""


def page() -> str:
    """All of it, of the runs that are kept."""
    played = {f: entries for f in FAMILIES.values() if (entries := read_entries(f.kept))}
    machines = {entry.machine for entries in played.values() for entry in entries}
    letters = lettered(sorted(machines))
    told = "; ".join(f"{letter}: {machine}" for machine, letter in letters.items())
    sections = "\n".join(section(family, runs, letters) for family, runs in played.items())
    return f"""# Results

`make curves`: SmolLM2-135M-Instruct (its 4-bit GGUF file, dequantised), a ReAct agent, 8 tasks x 8
rollouts a step, 24 new tokens, AdamW at 2e-5. The reward is 1 if the last number of the reply is
the answer. Held out: one sample a task at temperature 1, the same random numbers at every
evaluation; no task is both held out and learnt from.

Ours is the guide's program as `make demo` runs it; TRL is its `GRPOTrainer` with the same model,
tasks, prompts, judge, batch and learning rate, and its own loss.

{sections}
The area is the mean height of the held-out curve. Errors are standard errors of the mean over
seeds. Steps are counted along a straight line between evaluations. Processor seconds are those of
the whole run, loading, evaluations and saving included, and were not taken of {TRL}. Other programs
ran beside some of the runs, which costs time and changes no sample. The arithmetic example under
every learning rule: [league.md](league.md).

{told}.
"""


def section(family: Family, entries: Sequence[Entry], letters: Mapping[str, str]) -> str:
    """One family's; `letters` stand for machines."""
    groups = by_type(entries)
    steps = sorted(entries[0].curve)
    heading = " | ".join(f"step {step}" for step in steps)
    answers = entries[0].answers
    return f"""## {family.title}

{family.tasks}
The standard error of one figure from these {answers} is about {math.sqrt(0.25 / answers):.2f}.

| | seeds | area under the curve | steps until {GOAL} | before | after | processor s |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(summary(name, runs) for name, runs in groups.items())}

{comparison(groups)}

![Held-out reward by step]({family.picture.name})

| | seed | {heading} | on | date |
|{" --- |" * (len(steps) + 4)}
{chr(10).join(row(entry, letters) for entry in entries)}
"""


def summary(name: str, entries: Sequence[Entry]) -> str:
    """One contestant's line."""
    reached = [steps for e in entries if (steps := e.steps_until(GOAL)) is not None]
    missed = len(entries) - len(reached)
    until = f"{statistics.mean(reached):.1f}" if reached else ""
    seconds = [e.cpu_seconds for e in entries if e.cpu_seconds is not None]
    cells = (
        name,
        str(len(entries)),
        of_seeds(entries, [e.area for e in entries]),
        f"{until} ({missed} never)" if missed else until,
        of_seeds(entries, [e.curve[0] for e in entries]),
        of_seeds(entries, [e.final for e in entries]),
        f"{statistics.mean(seconds):.0f}" if seconds else "",
    )
    return f"| {' | '.join(cells)} |"


def of_seeds(entries: Sequence[Entry], values: Sequence[float]) -> str:
    """Mean and error."""
    return f"{statistics.mean(values):.3f} ± {error(entries, values):.3f}"


def comparison(groups: Mapping[str, Sequence[Entry]]) -> str:
    """Ours against TRL at equal samples: the ratio of areas, and its error."""
    if not {OURS, TRL} <= groups.keys():
        return "Only one of both was played."
    ours, our_error = mean_area(groups[OURS])
    peer, peer_error = mean_area(groups[TRL])
    ratio = ours / peer
    spread = ratio * math.hypot(our_error / ours, peer_error / peer)
    return f"At equal samples our area is {ratio:.2f} ± {spread:.2f} times {TRL}'s."


def mean_area(entries: Sequence[Entry]) -> tuple[float, float]:
    """And its error over seeds (0 of a single one)."""
    areas = [entry.area for entry in entries]
    return statistics.mean(areas), error(entries, areas) if len(areas) > 1 else 0.0


def row(entry: Entry, letters: Mapping[str, str]) -> str:
    """One run's line; `letters` stand for machines."""
    values = [f"{entry.curve[step]:.3f}" for step in sorted(entry.curve)]
    cells = [entry.type, str(entry.seed), *values, letters[entry.machine], entry.date]
    return f"| {' | '.join(cells)} |"


def draw(title: str, entries: Sequence[Entry], path: Path) -> None:
    """Means of held-out rewards, thick, of every seed, thin."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, runs) in enumerate(by_type(entries).items()):
        steps = sorted(runs[0].curve)
        for run in runs:
            curve = [run.curve[step] for step in steps]
            axes.plot(steps, curve, color=f"C{number}", alpha=0.3, linewidth=1)
        means = [statistics.mean(run.curve[step] for run in runs) for step in steps]
        label = f"{name}, mean of {len(runs)}"
        axes.plot(steps, means, "o-", color=f"C{number}", linewidth=2.5, label=label)
    axes.set(xlabel="step (64 rollouts)", ylabel="held-out reward", ylim=(0, 1))
    axes.set_title(f"{title}: SmolLM2-135M, one line a seed")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
    figure.savefig(path)
