"""Sections 6 and 7: steps of agents, teachers."""

import math

import numpy as np
import pytest
from worked import advantages, at_ratios, rollout, token_advantages

from agentscope_tuner.algorithms.distill import JensenShannon
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


def two_walks():
    return RolloutGroup(
        "g",
        {},
        [
            rollout(1, 1, 1, reward=1.0, call_rewards=[0, 0, 1], state_keys=["s0", "s1", "s2"]),
            rollout(1, 1, 1, reward=0.0, call_rewards=[0, 0, 0], state_keys=["s0", "s1", "s3"]),
        ],
    )


@pytest.mark.parametrize(
    ("fnorm", "expected"), [("none", [0.905, 0.95, 0.5]), ("std", [1.4142, 1.4142, 0.7071])]
)
def test_gigpo(fnorm, expected):
    walks = two_walks()
    advantages("gigpo", [walks], gamma=0.9, fnorm=fnorm)
    one, other = walks.rollouts
    assert [a for [a] in token_advantages(one)] == close(expected, abs=1e-4)
    assert [a for [a] in token_advantages(other)] == close([-a for a in expected], abs=1e-4)


def test_gigpo_compares_states_within_a_task_only():
    lonely = [
        RolloutGroup("a", {}, [two_walks().rollouts[0], rollout(1, reward=0.0)]),
        RolloutGroup("b", {}, [two_walks().rollouts[1], rollout(1, reward=0.0)]),
    ]
    advantages("gigpo", lonely)
    assert [a for [a] in token_advantages(lonely[0].rollouts[0])] == close([0.5] * 3)


def test_gigpo_counts_a_state_each_time_it_is_met():
    stays = rollout(1, 1, 1, reward=0.0, call_rewards=[0] * 3, state_keys=["L"] * 3)
    leaves = rollout(1, reward=1.0, call_rewards=[1], state_keys=["L"])
    advantages("gigpo", [RolloutGroup("g", {}, [stays, leaves])])
    # the episodes' part is -.5 and .5
    assert [a for [a] in token_advantages(stays)] == close([-0.75] * 3)
    assert token_advantages(leaves) == [close([1.25])]


def test_on_policy_distill():
    member = rollout(2, reward=None, proximal=[[-1, -2]], teacher=[[-0.5, -3]])
    algorithm = get_algorithm(algorithm_type="on_policy_distill")
    algorithm.advantages([RolloutGroup("g", {}, [member])])
    assert token_advantages(member) == [close([0.5, -1.0])]
    assert algorithm.needs_teacher
    assert not algorithm.needs_reference


def test_importance_sampling():
    loss, grad = at_ratios([1.2], 0.5, policy_loss_fn="importance_sampling")
    assert loss == close(-0.6)
    assert grad == close([-0.6])


@pytest.mark.parametrize(
    ("student", "teacher", "expected"), [(0.9, 0.1, -0.2939), (0.1, 0.9, 0.8047)]
)
def test_jsd(student, teacher, expected):
    found = JensenShannon().of_tokens(np.log([teacher]), np.log([student]))
    assert found.tolist() == close([expected], abs=1e-4)


def test_jsd_tends_to_both_divergences():
    t, s = math.log(0.3), math.log(0.6)
    b = 1 - 1e-6
    reverse = JensenShannon(lambda_coef=b).of_tokens(np.array([t]), np.array([s])) / (1 - b)
    assert reverse[0] == close(t - s, abs=1e-4)
    b = 1e-6
    forward = JensenShannon(lambda_coef=b).of_tokens(np.array([t]), np.array([s])) / b
    assert forward[0] == close(math.exp(t - s) - 1, abs=1e-4)


def test_jsd_is_the_gradient_of_the_divergence():
    """S [.5, .5], T [.8, .2]: by the student's first logit -.07738."""
    student, teacher = np.array([0.5, 0.5]), np.array([0.8, 0.2])
    advantage = JensenShannon().of_tokens(np.log(teacher), np.log(student))
    # -sum over tokens of p * A * d ln p / d logit 0
    gradient = -(student * advantage * (np.array([1.0, 0.0]) - student[0])).sum()
    assert gradient == close(-0.07738, abs=1e-5)
