"""Section 3: PPO's loss and advantages, returns to go, whitening."""

import pytest
import torch
from worked import advantages, at_ratios, group, rollout, token_advantages

from agentscope_tuner.algorithms.advantage import whiten
from agentscope_tuner.algorithms.gae import Gae
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


@pytest.mark.parametrize(
    ("advantage", "loss", "gradient"),
    [(1.0, -0.975, [0, -1, -0.5, 0]), (-1.0, 1.7, [2, 1, 0, 0])],
)
def test_clip_and_dual_clip(advantage, loss, gradient):
    value, grad = at_ratios([2, 1, 0.5, 4], advantage)
    assert value == close(loss, abs=1e-5)
    assert [4 * g for g in grad] == close(gradient, abs=1e-5)


def test_fallback_to_the_plain_policy_gradient():
    _, grad = at_ratios([2, 0.5], 1.0, policy_loss_fn_args={"fallback_to_policy_gradient": True})
    assert grad == close([-0.5, -0.5])


@pytest.mark.parametrize(
    ("gamma", "lam", "expected", "white"),
    [
        (1, 1, [0.8, 0.6, 0.4], [1, 0, -1]),
        (1, 0.95, [0.751, 0.58, 0.4], [0.99134, 0.01709, -1.00844]),
        (0.99, 0.95, [0.73227, 0.5702, 0.4], None),
    ],
)
def test_gae(gamma, lam, expected, white):
    member = rollout(3, reward=1.0, value=[[0.2, 0.4, 0.6]])
    estimate = Gae(gamma=gamma, lam=lam)
    raw = estimate.of_rollout(member)
    assert raw.tolist() == close(expected, abs=1e-5)
    assert member.trajectory.segments[1].sampled.columns["return"] == close(
        [a + v for a, v in zip(expected, [0.2, 0.4, 0.6], strict=True)], abs=1e-5
    )
    if white:
        assert whiten([raw])[0].tolist() == close(white, abs=1e-5)
        estimate([RolloutGroup("g", {}, [member])])
        assert token_advantages(member)[0] == close(white, abs=1e-5)


def test_a_clipped_value_has_no_gradient_away_from_its_return():
    value_loss = get_algorithm(algorithm_type="ppo").value_loss
    values_N = torch.tensor([0.9, 0.9, 0.1], requires_grad=True)
    columns = {"value": torch.tensor([0.2, 0.8, 0.2]), "return": torch.tensor([1.0, 1.0, 1.0])}
    loss_N, metrics = value_loss(values_N, columns)
    loss_N.sum().backward()
    # v_old .2, v .9, R 1, range .5: the value clipped to .7 counts, which does not move
    assert loss_N.tolist() == close([0.045, 0.005, 0.405], abs=1e-5)
    assert values_N.grad.tolist() == close([0, -0.1, -0.9], abs=1e-5)
    assert metrics["clip_fraction"].tolist() == [1, 0, 0]


def test_gae_steps_over_what_was_observed():
    member = rollout(1, 1, reward=1.0, value=[[0.2], [0.6]])
    assert Gae(lam=0.95).of_rollout(member).tolist() == close([0.78, 0.4])
    assert member.trajectory.segments[1].sampled.columns["return"] == close([0.98])


def test_a_truncated_rollout_is_bootstrapped_with_its_last_value():
    cut = rollout(2, reward=0.0, value=[[0.5, 0.6]], truncated=True)
    # delta: .6 - .5, then .6 - .6; without the bootstrap the last would be -.6
    assert Gae(lam=1).of_rollout(cut).tolist() == close([0.1, 0.0])


def test_dense_rewards_reach_gae():
    member = rollout(1, 1, reward=1.0, call_rewards=[0.5, 0.5], value=[[0.0], [0.0]])
    assert Gae().of_rollout(member).tolist() == close([1.0, 0.5])


def test_reinforceplusplus():
    groups = [RolloutGroup("g", {}, [rollout(1, reward=1.0), rollout(3, reward=0.0)])]
    get_algorithm(algorithm_type="reinforceplusplus").advantages(groups)
    one, other = groups[0].rollouts
    assert token_advantages(one) == [close([1.5], abs=1e-5)]
    assert token_advantages(other) == [close([-0.5] * 3, abs=1e-5)]


def test_reinforce_is_the_reward():
    assert advantages("reinforce", [group(0.3, -1.0)]) == [[0.3, -1.0]]


def test_remax_takes_the_greedy_rollout_for_a_baseline():
    member = rollout(1, 1, reward=1.0, call_rewards=[0, 1], metrics={"greedy/reward": 0.25})
    alone = rollout(2, reward=1.0, name="whose greedy one failed")
    later = rollout(2, 1, reward=3.0, call_rewards=[2, 1], metrics={"greedy/reward": 1.0})
    assert advantages("remax", [RolloutGroup("g", {}, [member, alone, later])]) == [
        [close(0.75), None, close((2 + 2 + 0) / 3)]
    ]
    assert token_advantages(member) == [close([0.75]), close([0.75])]
    assert token_advantages(later) == [close([2, 2]), close([0])]
