"""Runs beside each other: what differs, their curves, and the change on shared held-out tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import isnan
from typing import Any

import numpy as np

from agentscope_tuner.monitor.summary import training_key
from agentscope_tuner.runs.diagnosis.case import answer
from agentscope_tuner.runs.estimates import evaluated_steps, paired_change, task_means
from agentscope_tuner.runs.files import RunFiles

MAX_FLIPPED = 60
MAX_ANSWER = 400
"""Characters."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What a run reached, by three measures of what it has cost."""

    metric: str
    """`reward/mean`, or the loss of a supervised run."""
    values: list[float]
    steps: list[int]
    tokens: list[float]
    """Trained so far."""
    minutes: list[float]
    """Of steps so far, evaluation and saving left out."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """A task with another mean reward than the baseline's."""

    task: str
    """Its digest."""
    about: str
    """How its text begins."""
    rewards: tuple[float, float]
    answers: tuple[str, str]
    """The beginning of an answer of each."""


@dataclass(frozen=True, slots=True)
class SetChange:
    """The mean change from the baseline on a held-out set, task by task."""

    run: str
    set: str
    steps: tuple[int, int]
    """After which the baseline and the run were evaluated: the last time."""
    tasks: int
    """That both have."""
    mean: float
    error: float
    """Standard error; NaN with fewer than two tasks."""
    tells_apart: bool
    """Whether the change is beyond two standard errors."""
    flipped: list[Flipped]
    """The largest changes first, at most `MAX_FLIPPED`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs or more; the first is the baseline."""

    differs: dict[str, dict[str, Any]]
    """Configuration key -> its value in each run, of those that are not the same in all."""
    curves: dict[str, Curve]
    changes: list[SetChange]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def compare(runs: Mapping[str, RunFiles]) -> Comparison:
    """Compare runs by name. Raises InputError if their files are damaged."""
    for run in runs.values():
        run.table.refresh()
    first, *others = runs
    return Comparison(
        differences({name: run.configuration() for name, run in runs.items()}),
        {name: curve_of(run.records()) for name, run in runs.items()},
        [change for name in others for change in _changes(runs[first], name, runs[name])],
    )


def differences(configurations: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Keys that are not the same in all configurations, with their values by run."""
    keys = dict.fromkeys(key for values in configurations.values() for key in values)
    keys.pop("name", None)
    found = {}
    for key in keys:
        values = {name: values.get(key) for name, values in configurations.items()}
        if len({repr(value) for value in values.values()}) > 1:
            found[key] = values
    return found


def curve_of(records: list[dict[str, float]]) -> Curve:
    """The curve of training from the records of a `metrics.jsonl`."""
    key = training_key(records)
    steps = [record for record in records if key in record]

    def so_far(name: str) -> list[float]:
        values = (record.get(name, 0.0) for record in steps)
        return list(accumulate(0.0 if isnan(value) else value for value in values))

    return Curve(
        metric=key,
        values=[record[key] for record in steps],
        steps=[int(record["step"]) for record in steps],
        tokens=so_far("train/tokens"),
        minutes=[seconds / 60 for seconds in so_far("time/step")],
    )


def _changes(baseline: RunFiles, name: str, other: RunFiles) -> list[SetChange]:
    ours, theirs = evaluated_steps(baseline.table), evaluated_steps(other.table)
    changes = []
    for shared in [evaluation for evaluation in ours if evaluation in theirs]:
        steps = ours[shared][-1], theirs[shared][-1]
        change = paired_change(
            task_means(baseline.table, shared, steps[0]), task_means(other.table, shared, steps[1])
        )
        moved = [(task, *rewards) for task, rewards in change.moves.items() if len({*rewards}) > 1]
        moved.sort(key=lambda move: -abs(move[2] - move[1]))
        flipped = [
            _flipped((baseline, other), shared, steps, task, (a, b))
            for task, a, b in moved[:MAX_FLIPPED]
        ]
        changes.append(
            SetChange(
                run=name,
                set=shared,
                steps=steps,
                tasks=len(change.moves),
                mean=change.estimate.mean,
                error=change.estimate.standard_error,
                tells_apart=change.tells_apart,
                flipped=flipped,
            )
        )
    return changes


def _flipped(
    runs: tuple[RunFiles, RunFiles],
    evaluation: str,
    steps: tuple[int, int],
    task: int,
    rewards: tuple[float, float],
) -> Flipped:
    about, answers = "", []
    for run, step in zip(runs, steps, strict=True):
        columns = run.table.columns
        rows = columns["set"] == run.table.code("set", evaluation)
        rows &= (columns["step"] == step) & (columns["task"] == task) & (columns["error"] == 0)
        row = np.flatnonzero(rows)[:1]
        [line], [stored] = run.table.lines(row), run.stored(row)
        about = line["about"]
        answers.append(answer(stored)[:MAX_ANSWER])
    return Flipped(f"{task:012x}", about, rewards, (answers[0], answers[1]))
