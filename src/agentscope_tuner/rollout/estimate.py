"""Mean rewards with standard errors, of one model and of the difference between two.

Samples of one task resemble each other, so the errors are clustered by task: they say how far the
mean would move with other tasks of the same kind. See Miller, "Adding Error Bars to Evals", 2024
(arXiv:2411.00640).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import fmean, stdev

from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its standard error."""

    mean: float
    """NaN if there was nothing to take it over."""
    standard_error: float
    """NaN if there were fewer than two tasks."""


def estimate_reward(groups: Sequence[RolloutGroup]) -> Estimate:
    """The mean over all rollouts that did not fail, which is the metric `reward/mean`."""
    tasks = [group.rewards for group in groups if group.rewards]
    rewards = [reward for task in tasks for reward in task]
    if not rewards:
        return Estimate(nan, nan)
    mean = fmean(rewards)
    if len(tasks) < 2:
        return Estimate(mean, nan)
    squares = sum(sum(reward - mean for reward in task) ** 2 for task in tasks)
    correction = len(tasks) / (len(tasks) - 1)
    return Estimate(mean, sqrt(correction * squares) / len(rewards))


def estimate_change(before: Sequence[RolloutGroup], after: Sequence[RolloutGroup]) -> Estimate:
    """The mean change from one model to another on the same tasks, task by task.

    What is hard or easy for both cancels out, so this error is smaller than those of the two means.
    Tasks without a reward on either side are left out.
    """
    changes = [
        fmean(b.rewards) - fmean(a.rewards)
        for a, b in zip(before, after, strict=True)
        if a.rewards and b.rewards
    ]
    if not changes:
        return Estimate(nan, nan)
    error = stdev(changes) / sqrt(len(changes)) if len(changes) > 1 else nan
    return Estimate(fmean(changes), error)
