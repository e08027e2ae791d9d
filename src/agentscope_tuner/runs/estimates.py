"""What stored rewards can tell: means with errors by task, and changes task by task.

The formulas are those of `rollout.estimate`, over the columns of a run's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.rollout.estimate import Estimate
from agentscope_tuner.runs.table import RolloutTable

TaskMeans = Mapping[int, float]
"""Mean reward by task (its digest as a number)."""


@dataclass(frozen=True, slots=True)
class Change:
    """From one model to another on the tasks that both have."""

    estimate: Estimate
    moves: Mapping[int, tuple[float, float]]
    """Task -> its mean reward with the one and with the other."""

    @property
    def tells_apart(self) -> bool:
        """Whether the change is beyond two standard errors."""
        mean, error = self.estimate.mean, self.estimate.standard_error
        return not isnan(error) and abs(mean) > 2 * error


def clustered(rewards: NDArray[Any], tasks: NDArray[Any]) -> Estimate:
    """The mean of the rewards that are numbers, its standard error clustered by task."""
    known = ~np.isnan(rewards)
    rewards, tasks = rewards[known].astype(float), tasks[known]
    if not len(rewards):
        return Estimate(nan, nan)
    _, codes = np.unique(tasks, return_inverse=True)
    count = int(codes.max()) + 1
    if count < 2:
        return Estimate(float(rewards.mean()), nan)
    sums = np.bincount(codes, rewards - rewards.mean(), count)
    error = sqrt(count / (count - 1) * float(np.square(sums).sum())) / len(rewards)
    return Estimate(float(rewards.mean()), error)


def evaluated_steps(table: RolloutTable) -> dict[str, list[int]]:
    """The steps after which each held-out set was evaluated."""
    columns = table.columns
    found = {}
    for code in np.unique(columns["set"]):
        name = table.name("set", int(code))
        if name is not None:
            found[name] = np.unique(columns["step"][columns["set"] == code]).tolist()
    return found


def task_means(table: RolloutTable, evaluation: str, step: int) -> TaskMeans:
    """The mean reward of each task of an evaluation; tasks that always failed are left out."""
    columns = table.columns
    rows = (columns["set"] == table.code("set", evaluation)) & (columns["step"] == step)
    rows &= ~np.isnan(columns["reward"])
    tasks, codes = np.unique(columns["task"][rows], return_inverse=True)
    sums = np.bincount(codes, columns["reward"][rows], len(tasks))
    means = sums / np.bincount(codes, minlength=len(tasks))
    return dict(zip(tasks.tolist(), means.tolist(), strict=True))


def paired_change(before: TaskMeans, after: TaskMeans) -> Change:
    """The mean change, task by task, over the tasks that both have."""
    moves = {task: (before[task], after[task]) for task in sorted(before.keys() & after.keys())}
    differences = np.array([b - a for a, b in moves.values()])
    if not len(differences):
        return Change(Estimate(nan, nan), moves)
    many = len(differences) > 1
    error = float(differences.std(ddof=1)) / sqrt(len(differences)) if many else nan
    return Change(Estimate(float(differences.mean()), error), moves)


def within_groups(
    groups: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> float:
    """Pearson's correlation of x and y after each group's means are taken away; NaN if either does
    not vary then."""
    a, b = _centred(x, groups), _centred(y, groups)
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 1e-12 else nan


def _centred(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.maximum(np.bincount(groups), 1)
    return values - (np.bincount(groups, values) / counts)[groups]
