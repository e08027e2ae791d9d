"""pass@k against counting every choice of k samples."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscope_tuner.rollout.pass_at_k import pass_at_k
from agentscope_tuner.trajectory import Rollout, RolloutError, RolloutGroup, Trajectory


def group(rewards: list[float | None]) -> RolloutGroup:
    """A task's rollouts; None is a failed one."""
    error = RolloutError("workflow", "it raised")
    rollouts = [
        Rollout("r", {}, Trajectory(), reward=reward, error=error if reward is None else None)
        for reward in rewards
    ]
    return RolloutGroup("g", {}, rollouts)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=1, max_size=9))
def test_it_is_the_share_of_choices_with_a_success(rewards: list[float | None]) -> None:
    for k, share in pass_at_k([group(rewards)]).items():
        choices = list(combinations(rewards, k))
        passed = sum(any(reward == 1.0 for reward in choice) for choice in choices)
        assert share == pytest.approx(passed / len(choices))


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])]
)
def test_k_doubles_up_to_the_number_of_samples(n: int, sizes: list[int]) -> None:
    assert list(pass_at_k([group([1.0] * n)])) == sizes


def test_tasks_count_alike() -> None:
    assert pass_at_k([group([1.0, 0.0]), group([0.0, 0.0])]) == {1: 0.25, 2: 0.5}


def test_what_a_success_is_can_be_said() -> None:
    assert pass_at_k([group([0.4, 0.6])], success=0.5) == {1: 0.5, 2: 1.0}


def test_without_tasks_there_is_nothing() -> None:
    assert pass_at_k([]) == {}
