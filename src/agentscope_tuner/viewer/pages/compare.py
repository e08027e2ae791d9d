"""Two to four runs beside each other: what differs, their curves, and the tasks that flipped."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from agentscope_tuner.errors import InputError
from agentscope_tuner.viewer.library import Library, Run
from agentscope_tuner.viewer.pages.run import run_page
from agentscope_tuner.viewer.pages.runs import differences

MAX_RUNS = 4
MAX_FLIPPED = 60


def compare_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """The `runs` (ids, a line break between them), the first of which is the baseline."""
    names = query["runs"].split("\n")
    if not 2 <= len(names) <= MAX_RUNS:
        raise InputError(f"Choose two to {MAX_RUNS} runs to compare.")
    runs = {name: library.run(name) for name in names}
    pages = {name: run_page(library, {"run": name}) for name in names}
    kept = ("headline", "training", "evaluations", "errors", "status")
    baseline = runs[names[0]]
    return {
        "runs": [{"id": name, **{key: pages[name][key] for key in kept}} for name in names],
        "differs": differences({name: run.configuration() for name, run in runs.items()}),
        "changes": [
            {"id": name, **change}
            for name in names[1:]
            for change in _changes(baseline, runs[name])
        ],
        "help": pages[names[0]]["help"],
    }


def _changes(baseline: Run, other: Run) -> list[dict[str, Any]]:
    """The paired change of each evaluation set that both runs have, after their last evaluation."""
    changes = []
    ours, theirs = _last_evaluations(baseline), _last_evaluations(other)
    for name in ours.keys() & theirs.keys():
        (step_a, a), (step_b, b) = ours[name], theirs[name]
        tasks = sorted(a.keys() & b.keys())
        moves = np.array([b[task] - a[task] for task in tasks])
        error = float(moves.std(ddof=1)) / sqrt(len(moves)) if len(moves) > 1 else None
        order = sorted(range(len(tasks)), key=lambda at: -abs(moves[at]))[:MAX_FLIPPED]
        changes.append(
            {
                "set": name,
                "steps": [step_a, step_b],
                "tasks": len(tasks),
                "mean": float(moves.mean()) if len(moves) else None,
                "error": error,
                "flipped": [
                    [f"{tasks[at]:012x}", a[tasks[at]], b[tasks[at]]]
                    for at in order
                    if abs(moves[at]) > 0
                ],
            }
        )
    return changes


def _last_evaluations(run: Run) -> dict[str, tuple[int, dict[int, float]]]:
    """Of each set the step of its last evaluation, and the mean reward of each task there."""
    columns = run.table.columns
    found = {}
    for code in np.unique(columns["set"]):
        name = run.table.name("set", int(code))
        if name is None:
            continue
        rows = columns["set"] == code
        step = int(columns["step"][rows].max())
        rows &= (columns["step"] == step) & ~np.isnan(columns["reward"])
        tasks, codes = np.unique(columns["task"][rows], return_inverse=True)
        sums = np.bincount(codes, columns["reward"][rows], len(tasks))
        means = sums / np.bincount(codes, minlength=len(tasks))
        found[name] = (step, dict(zip(tasks.tolist(), means.tolist(), strict=True)))
    return found
