"""Two to four runs beside each other: what differs, their curves, and the tasks that flipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.estimates import evaluated_steps, paired_change, task_means
from agentscope_tuner.viewer.library import Library, Run
from agentscope_tuner.viewer.pages.run import run_page
from agentscope_tuner.viewer.pages.runs import differences, number

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
    ours, theirs = evaluated_steps(baseline.table), evaluated_steps(other.table)
    changes = []
    for name in [name for name in ours if name in theirs]:
        steps = [ours[name][-1], theirs[name][-1]]
        change = paired_change(
            task_means(baseline.table, name, steps[0]), task_means(other.table, name, steps[1])
        )
        flipped = [(task, a, b) for task, (a, b) in change.moves.items() if a != b]
        flipped.sort(key=lambda move: -abs(move[2] - move[1]))
        changes.append(
            {
                "set": name,
                "steps": steps,
                "tasks": len(change.moves),
                "mean": number(change.estimate.mean),
                "error": number(change.estimate.standard_error),
                "flipped": [[f"{task:012x}", a, b] for task, a, b in flipped[:MAX_FLIPPED]],
            }
        )
    return changes
