"""Two judges of the same rollouts beside each other, on numbers that can be worked out by hand."""

from __future__ import annotations

from math import isnan, sqrt

import pytest

from agentscope_tuner.runs.rescored import Rejudged, Rescored
from agentscope_tuner.trajectory import RolloutError


def of(*groups: list[tuple[float, float | None]]) -> Rescored:
    """Groups of recorded rewards and the other judge's."""
    rollouts = [
        Rejudged(
            f"step1-{number}-{index}",
            1,
            f"1 step1-{number}",
            number,
            "a task",
            "an answer",
            before,
            after,
            "",
            None if after is not None else RolloutError("judge", "ValueError: no"),
        )
        for number, group in enumerate(groups)
        for index, (before, after) in enumerate(group)
    ]
    return Rescored(rollouts, 0, 0)


def test_a_judge_that_says_twice_as_much_orders_all_rollouts_alike() -> None:
    found = of([(1, 2), (2, 4), (3, 6)])
    assert (found.spearman, found.kendall_in_groups) == (pytest.approx(1), pytest.approx(1))
    assert found.reward("before").mean == 2
    assert found.reward("after").mean == 4


def test_only_pairs_of_one_group_count_for_what_is_learnt() -> None:
    # Each group is turned round, but the second is above the first for both judges.
    found = of([(1, 2), (2, 1)], [(11, 12), (12, 11)])
    assert found.kendall_in_groups == -1
    assert found.spearman == pytest.approx(0.6)  # 1 - 6 * 4 / (4 * 15)


def test_a_pair_that_one_judge_does_not_tell_apart_lowers_the_agreement() -> None:
    # Three pairs by the first judge, two by the second, which agree: 2 / sqrt(3 * 2).
    assert of([(1, 0), (2, 1), (3, 1)]).kendall_in_groups == pytest.approx(2 / sqrt(6))


def test_groups_teach_if_a_judge_tells_their_rollouts_apart() -> None:
    found = of([(0, 1), (1, 1)], [(0, 0), (0, 1)], [(0, 0.5), (1, 0.7)])
    assert (found.teaching("before"), found.teaching("after"), found.groups) == (2, 2, 3)


def test_a_rollout_that_the_judge_failed_on_is_counted_and_compared_with_nothing() -> None:
    found = of([(0, None), (1, 1)])
    assert found.failures == {"judge": 1}
    assert (len(found.both), found.moved) == (1, [])
    assert isnan(found.spearman)
    assert isnan(found.kendall_in_groups)


def test_what_moved_most_comes_first() -> None:
    assert [one.change for one in of([(0, 0.5), (1, 1), (1, 0)]).moved] == [-1, 0.5]
