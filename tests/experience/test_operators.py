"""Operators on groups with known rewards: the worked numbers, and what is learnt then."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.base import as_learnt, reward_of
from agentscope_tuner.experience.operators import OPERATORS, Operators, make_operator
from agentscope_tuner.experience.overlong_penalty import OverlongPenalty
from agentscope_tuner.trajectory import (
    Call,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)


def rollout(reward: float | None, tokens: int = 3, finish: str = "stop", **metrics: float):
    trajectory = Trajectory(
        [
            Segment(None, [1, 2]),
            Segment(0, [3] * tokens, Sampled([-1.0] * tokens, [False] * tokens, "policy", 0)),
        ],
        [Call(1, [], None, {}, finish)],
    )
    error = RolloutError("timeout", "late") if reward is None else None
    return Rollout("r", {}, trajectory, reward=reward, error=error, metrics=dict(metrics))


def group(*rewards: float | None) -> RolloutGroup:
    return RolloutGroup("g", {}, [rollout(reward) for reward in rewards])


def run(name: str, groups: list[RolloutGroup], **args: Any) -> Operators:
    operators = Operators([make_operator(name, args)])
    operators(groups)
    return operators


def left_out(*groups: RolloutGroup) -> list[list[bool]]:
    return [[bool(r.left_out) for r in one.rollouts] for one in groups]


def test_a_reward_filter_leaves_out_what_is_below_its_threshold() -> None:
    one = group(-0.5, 0, 1)
    operators = run("reward_filter", [one])
    assert left_out(one) == [[True, False, False]]
    assert operators.metrics([one]) == {"operator/reward_filter/left_out": 1.0}


def test_what_is_left_out_of_a_group_still_counts_in_its_statistics() -> None:
    one = group(0, 1)
    run("reward_filter", [one], threshold=0.5)
    with as_learnt([one]) as kept:
        get_algorithm(algorithm_type="grpo").advantages(kept)
    assert one.rollouts[1].advantage == pytest.approx(1 / math.sqrt(2), abs=1e-5)


def test_a_std_filter_leaves_out_groups_that_are_alike_and_groups_of_one() -> None:
    groups = [group(1, 1), group(1, 0), group(1, None)]
    run("reward_std_filter", groups)
    assert left_out(*groups) == [[True, True], [False, False], [True, True]]
    run("reward_std_filter", groups[1:2], threshold=0.5)  # the population's is 0.5
    assert left_out(groups[1]) == [[True, True]]


def test_dynamic_sampling_keeps_what_is_partly_right_and_counts_what_it_misses() -> None:
    groups = [group(1, 1), group(1, -1), group(-1, -1), group(1, None)]
    operators = run("dapo_dynamic_sampling", groups, max_rounds=2)
    assert left_out(*groups) == [[True, True], [False, False], [True, True], [True, True]]
    assert [operators.missing(groups, 4, rounds) for rounds in range(3)] == [3, 3, 0]
    with as_learnt(groups) as kept:
        assert kept == [groups[1]]


def test_dynamic_sampling_goes_by_accuracy_and_not_by_a_shaped_reward() -> None:
    members = [rollout(0.7, accuracy=0.0), rollout(-0.3, accuracy=1.0)]
    members[0].metrics = {"judge/accuracy": 0.0}
    one = RolloutGroup("g", {}, members)
    run("dapo_dynamic_sampling", [one])
    assert left_out(one) == [[False, False]]


def test_other_filters_do_not_replace_what_they_leave_out() -> None:
    groups = [group(1, 1), group(1, 0)]
    assert run("reward_std_filter", groups).missing(groups, 2, 0) == 0


def test_what_was_cut_off_is_not_learnt_from_and_its_reward_counts() -> None:
    one = RolloutGroup("g", {}, [rollout(1, finish="length"), rollout(0)])
    run("mask_response_truncated", [one])
    assert left_out(one) == [[True, False]]
    with as_learnt([one]) as kept:
        assert kept[0].rewards == [1, 0]


@pytest.mark.parametrize(
    ("length", "punishment"), [(79, 0), (80, 0), (90, -0.5), (100, -1), (101, -1)]
)
def test_the_overlong_penalty_grows_over_its_cache(length: int, punishment: float) -> None:
    operator = OverlongPenalty(max_response_length=100, cache_length=20)
    assert operator.punishment(length) == punishment


def test_the_reward_that_is_learnt_is_shaped_and_the_recorded_one_stays() -> None:
    one = RolloutGroup("g", {}, [rollout(1, tokens=10), rollout(1, tokens=2), rollout(None)])
    operators = run("overlong_penalty", [one], max_response_length=12, cache_length=4)
    assert [r.reward for r in one.rollouts] == [1, 1, None]
    with as_learnt([one]) as kept:
        assert [r.reward for r in kept[0].rollouts] == [0.5, 1, None]
    assert [r.reward for r in one.rollouts] == [1, 1, None]
    assert operators.metrics([one])["operator/overlong_penalty/punished"] == 1
    assert operators.metrics([one])["reward/learnt"] == 0.75


@pytest.mark.parametrize(
    ("operation", "learnt"),
    [("ADD", 1.3), ("SUB", 0.7), ("MUL", 0.3), ("DIV", 1 / 0.3)],
)
def test_rewards_are_shaped_by_metrics(operation: str, learnt: float) -> None:
    one = RolloutGroup("g", {}, [rollout(1.0, info=3.0), rollout(1.0), rollout(1.0, info=0.0)])
    rule = {"stats_key": "info", "op_type": operation, "weight": 0.1}
    run("reward_shaping_mapper", [one], reward_shaping_configs=[rule])
    first, without, zero = (reward_of(r) for r in one.rollouts)
    assert first == pytest.approx(learnt)
    assert without == 1
    assert zero == (0 if operation == "MUL" else 1)


def test_a_reward_that_is_no_number_is_in_no_statistics() -> None:
    one = group(1, 0, 0)
    one.rollouts[2].shaped_reward = math.nan
    run("invalid_reward_filter", [one])
    with as_learnt([one]) as kept:
        assert kept[0].rewards == [1, 0]
    assert left_out(one) == [[False, False, True]]


def test_pass_rates_are_logged() -> None:
    groups = [group(1, 1), group(1, 0), group(0, 0), group(0, 0)]
    metrics = run("pass_rate_calculator", groups).metrics(groups)
    assert metrics == {
        "selection/valid_ratio": 0.25,
        "selection/strict_valid_ratio": 0.25,
        "selection/unsolved_ratio": 0.5,
        "selection/solved_ratio": 0.25,
    }


@pytest.mark.parametrize(
    ("name", "args", "sentence"),
    [
        ("reward_std", {}, "operator 'reward_std' is not known; did you mean reward_std_filter"),
        ("reward_filter", {"treshold": 1}, "'treshold' is not known; did you mean threshold"),
        ("overlong_penalty", {"cache_length": 1}, "needs the argument max_response_length"),
        ("overlong_penalty", {"cache_length": 5, "max_response_length": 4}, "should be at least 1"),
        ("reward_shaping_mapper", {}, "does nothing without"),
        (
            "reward_shaping_mapper",
            {"reward_shaping_configs": [{"stats_key": "a", "op_type": "POW"}]},
            "one of ADD, SUB, MUL, DIV, not 'POW'",
        ),
        ("data_juicer", {}, "Data-Juicer is not called"),
        ("math:pi", {}, "is no Operator"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(name: str, args: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_operator(name, args)


def test_every_operator_of_trinity_is_known() -> None:
    trinitys = "reward_filter reward_std_filter dapo_dynamic_sampling mask_response_truncated "
    trinitys += "reward_shaping_mapper pass_rate_calculator invalid_reward_filter"
    assert set(trinitys.split()) <= set(OPERATORS.names())
