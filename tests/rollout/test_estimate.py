"""Standard errors against the spread of the means of many drawn evaluations."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from agentscope_tuner.rollout.estimate import estimate_change, estimate_reward
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory


def groups(rewards: list[list[float]]) -> list[RolloutGroup]:
    return [
        RolloutGroup("g", {}, [Rollout("r", {}, Trajectory(), reward=r) for r in task])
        for task in rewards
    ]


def test_the_error_is_that_of_the_task_means_if_all_have_as_many_samples() -> None:
    estimate = estimate_reward(groups([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]))
    means = np.array([0.5, 1.0, 0.0])
    assert estimate.mean == pytest.approx(means.mean())
    assert estimate.standard_error == pytest.approx(means.std(ddof=1) / np.sqrt(3))


def test_the_error_is_the_spread_of_the_mean_over_other_tasks() -> None:
    random = np.random.default_rng(0)

    def draw() -> list[RolloutGroup]:
        """Twenty tasks of different hardness, some with a failed rollout."""
        chances = random.beta(0.5, 0.5, size=20)
        sizes = random.integers(3, 5, size=20)
        return groups([list(random.random(n) < p) for n, p in zip(sizes, chances, strict=True)])

    estimates = [estimate_reward(draw()) for _ in range(2000)]
    spread = np.std([estimate.mean for estimate in estimates])
    claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates]))
    assert claimed == pytest.approx(spread, rel=0.05)


def test_a_change_is_taken_task_by_task() -> None:
    before = groups([[0.0], [1.0], [0.0], [1.0]])
    after = groups([[0.5], [1.5], [0.5], [1.5]])
    change = estimate_change(before, after)
    assert (change.mean, change.standard_error) == (0.5, 0.0)
    assert estimate_reward(after).standard_error > 0.2


def test_a_task_that_failed_on_one_side_is_left_out_of_the_change() -> None:
    change = estimate_change(groups([[], [0.0], [0.0]]), groups([[1.0], [1.0], [0.0]]))
    assert change.mean == 0.5


def test_one_task_has_no_error() -> None:
    estimate = estimate_reward(groups([[1.0, 0.0]]))
    assert estimate.mean == 0.5
    assert isnan(estimate.standard_error)
