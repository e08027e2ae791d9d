"""Section 10: what goes beyond Trinity-RFT."""

import math

import pytest
from worked import advantages, at_ratios, group, loss_and_gradient, rollout

from agentscope_tuner.errors import RunError
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(0.01, 0.05, True), (0.6, 0.85, False), (0.05, 0.01, True)]
)
def test_dppo_looks_at_the_shift_of_probability(before, after, kept):
    _, grad = loss_and_gradient(
        [[math.log(after)]], [[math.log(before)]], [[1.0]], algorithm_type="dppo"
    )
    assert grad == close([-after / before if kept else 0], abs=1e-5)


def test_maxrl():
    assert advantages("maxrl", [group(1, 0, 0, 0)]) == [close([3, -1, -1, -1], abs=1e-4)]


def test_maxrl_refuses_negative_rewards():
    with pytest.raises(RunError, match="rollout r1 has -1"):
        advantages("maxrl", [group(1, -1)])


def test_gdpo():
    rewards = [(1, 1), (0, 1), (0, 0), (0, 0)]
    members = [rollout(1, reward=a + f, metrics={"accuracy": a, "format": f}) for a, f in rewards]
    groups = [RolloutGroup("g", {}, members)]
    [found] = advantages("gdpo", groups, rewards={"accuracy": 1.0, "format": 1.0})
    assert found == close([1.3321, 0.2061, -0.7691, -0.7691], abs=1e-4)
    [summed] = advantages("grpo", groups)
    assert summed == close([1.3056, 0.2611, -0.7833, -0.7833], abs=1e-4)


def test_reinforceplusplus_baseline():
    found = advantages("reinforceplusplus_baseline", [group(1, 0), group(1, 1)])
    assert found[0] == close([1.2247, -1.2247], abs=1e-4)
    assert found[1] == close([0, 0])


@pytest.mark.parametrize(
    ("advantage", "weights"), [(1.0, [1.1204, 1, 0.1991]), (-1.0, [0.3398, 1, 1.0827])]
)
def test_vespo(advantage, weights):
    for w, expected in zip([0.5, 1.0, 2.0], weights, strict=True):
        # two tokens, whose product is w
        _, grad = at_ratios([w / 4, 4], advantage, algorithm_type="vespo")
        assert [2 * g for g in grad] == close([-advantage * expected] * 2, abs=1e-4)
    _, grad = at_ratios([1e10, 1e10], advantage, algorithm_type="vespo")
    assert grad == [0, 0]
