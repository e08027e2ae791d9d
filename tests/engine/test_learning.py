"""What a step teaches: how its rollouts are cut into updates, and what is reported of them."""

from __future__ import annotations

import math

import pytest

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.engine.finite import refuse_advantages
from agentscope_tuner.engine.learning import over_updates, split_batch
from agentscope_tuner.errors import RunError
from agentscope_tuner.seeds import derived_seed
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup, Sampled, Segment, Trajectory


def rollout(calls: int, advantage: float | None = 1.0) -> Rollout:
    trajectory = Trajectory([Segment(None, [1, 2])])
    for _ in range(calls):
        parent = len(trajectory.segments) - 1
        trajectory.segments.append(Segment(parent, [3], Sampled([-1.0], [False], "m", 0)))
        trajectory.calls.append(Call(parent + 1, [], None, {}, "stop"))
    return Rollout("step1-0-0", {}, trajectory, reward=1.0, advantage=advantage)


def group(*calls: int) -> RolloutGroup:
    return RolloutGroup("g", {}, [rollout(count) for count in calls])


def calls_of(part: list[RolloutGroup]) -> int:
    return sum(len(r.trajectory.calls) for g in part for r in g.rollouts)


@pytest.mark.parametrize(
    ("samples", "parts"), [(None, [12]), (1, [2, 3, 6, 1]), (4, [5, 6, 1]), (100, [12])]
)
def test_a_step_is_cut_at_group_borders_into_updates_of_at_least_so_many_calls(
    samples: int | None, parts: list[int]
) -> None:
    groups = [group(1, 1), group(3), group(2, 4), group(1)]
    cut = [list(part) for part in split_batch(groups, samples)]
    assert [calls_of(part) for part in cut] == parts
    assert [g for part in cut for g in part] == groups


def test_a_steps_metrics_add_up_counts_and_keep_maxima_and_means() -> None:
    updates = [
        {"train/tokens": 10.0, "policy/ratio_max": 1.5, "policy/loss": 1.0, "policy/only": 4.0},
        {"train/tokens": 30.0, "policy/ratio_max": 1.2, "policy/loss": 3.0},
    ]
    assert over_updates(updates) == {
        "train/tokens": 40.0,
        "policy/ratio_max": 1.5,
        "policy/loss": 2.0,
        "policy/only": 4.0,
    }


def test_an_advantage_that_is_no_number_names_its_rollout_and_step() -> None:
    groups = [RolloutGroup("g", {}, [rollout(1), rollout(1, math.nan)])]
    batch = Batch(groups)
    batch.columns["weight"] = batch.columns["advantage"] * 0 + 1
    with pytest.raises(RunError, match="advantage of rollout step1-0-0 in step 7 is not finite"):
        refuse_advantages(7, batch)


def test_a_cosine_ends_with_the_run_however_many_updates_a_step_has() -> None:
    settings = OptimizerSettings(lr=1.0, schedule="cosine", total_steps=4)
    for updates in (1, 2, 5):
        course = [settings.lr_at(step + k / updates) for step in range(4) for k in range(updates)]
        assert course == sorted(course, reverse=True)
        assert course[0] == 1.0
        assert settings.lr_at(2.0) == pytest.approx(0.5)
        assert 0 < course[-1] < 0.2


def test_runs_of_neighbouring_seeds_share_no_stream() -> None:
    seeds = [derived_seed(seed, "step", step) for seed in range(10) for step in range(100)]
    seeds += [derived_seed(seed, "evaluation") for seed in range(10)]
    assert len(set(seeds)) == len(seeds)
    assert derived_seed(3, "step", 5) == derived_seed(3, "step", 5)
    assert all(0 <= seed < 2**63 for seed in seeds)
