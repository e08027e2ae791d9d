"""Sections 6 and 7: steps of agents, teachers."""

import math

import numpy as np
import pytest
import torch
from worked import advantages, at_ratios, rollout, token_advantages

from agentscope_tuner.algorithms.distill import JensenShannon
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.algorithms.tokens import Tokens
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup, Sampled, Segment, Trajectory

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


def test_self_distillation_weighs_by_a_ratio_of_at_most_two():
    members = [rollout(1, reward=r, proximal=[[-1]], self_teacher=[[-0.5]]) for r in (1, 0)]
    algorithm = get_algorithm(algorithm_type="sdpo")
    algorithm.advantages([RolloutGroup("g", {}, members)])
    assert token_advantages(members[0]) == [close([0.5])]
    _, grad = at_ratios([1.5, 4], 0.5, algorithm_type="sdpo")
    assert [2 * g for g in grad] == close([-0.5 * 1.5, -0.5 * 2], abs=1e-5)


def test_a_rollout_is_judged_behind_the_best_success_among_its_siblings():
    def member(name, reward, token):
        segments = [Segment(None, [1, 2]), Segment(0, [token], Sampled([-1.0], [False], "m", 0))]
        return Rollout(
            name, {}, Trajectory(segments, [Call(1, [], None, {}, "stop")]), reward=reward
        )

    members = [member("good", 1.0, 7), member("best", 2.0, 8), member("bad", 0.0, 9)]
    advantage = get_algorithm(algorithm_type="sdpo").advantage
    [group] = advantage.hinted([RolloutGroup("g", {}, members)])
    shown = [r.trajectory.token_ids(1) for r in group.rollouts]
    assert shown == [[1, 2, 8, 1, 2, 7], [1, 2, 7, 1, 2, 8], [1, 2, 8, 1, 2, 9]]
    [lonely] = advantage.hinted([RolloutGroup("g", {}, [members[2]])])
    assert lonely.rollouts == [members[2]]


@pytest.mark.parametrize(
    ("beta", "value", "gradient"),
    [
        (1.0, 0.223144, -0.34657),
        (0.0, 0.192745, -0.3),
        (0.5, 0.050672, -0.07738),
        (0.1, 0.017473, None),
    ],
)
def test_whole_distributions_with_a_bucket_for_the_rest(beta, value, gradient):
    """S [.5, .5], T [.8, .2]; the teacher's likeliest token is told, the other is the rest."""
    logits = torch.zeros(1, 2, requires_grad=True)
    algorithm = get_algorithm(
        algorithm_type="topk_distill", policy_loss_fn_args={"top_k": 1, "beta": beta}
    )
    student_NK = logits.log_softmax(-1)[:, :1]
    columns = {"teacher_top": torch.tensor([[0.8]]).log(), "sampler": torch.zeros(1)}
    loss_N, _ = algorithm.policy_loss.loss(
        Tokens(student_NK[:, 0], torch.zeros(1), columns, student_NK)
    )
    loss_N.sum().backward()
    assert loss_N.item() == close(value, abs=1e-5)
    if gradient is not None:
        assert logits.grad[0, 0].item() == close(gradient, abs=1e-5)
    assert algorithm.needs_teacher


def test_tokens_that_could_not_be_drawn_do_not_count():
    told = torch.tensor([[0.6, 0.3, 0.0]]).log()
    loss = get_algorithm(algorithm_type="topk_distill").policy_loss.loss
    student_NK = torch.tensor([[-0.7, -1.2, -torch.inf]], requires_grad=True)
    loss_N, _ = loss(Tokens(student_NK[:, 0], torch.zeros(1), {"teacher_top": told}, student_NK))
    loss_N.sum().backward()
    assert loss_N.isfinite().all()
    assert student_NK.grad.isfinite().all()
    assert student_NK.grad[0, 2] == 0


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
