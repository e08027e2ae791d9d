"""Section 1: aggregation, divergences, entropy, totals."""

import pytest
import torch
from worked import flat, group, loss_and_gradient, rollout

from agentscope_tuner.algorithms.aggregation import weights
from agentscope_tuner.algorithms.base import Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.kl import KL_ESTIMATORS, KlTerm
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


@pytest.mark.parametrize(
    ("mode", "loss"),
    [
        ("token-mean", 1.4),
        ("seq-mean-token-mean", 2.0),
        ("seq-mean-token-sum", 3.5),
        ("seq-mean-token-sum-norm", 0.875),
    ],
)
def test_aggregation(mode, loss):
    members = [rollout(4, advantage=1.0), rollout(1, advantage=1.0)]
    batch = Batch([RolloutGroup("g", {}, members)])
    losses_N = flat([[1, 1, 1, 1], [3]])
    assert (weights(mode, batch, length=4) * losses_N).sum() == close(loss, abs=1e-6)


def test_only_some_tokens_are_aggregated():
    members = [rollout(4, advantage=1.0), rollout(1, advantage=1.0), rollout(2, advantage=1.0)]
    batch = Batch([RolloutGroup("g", {}, members)])
    among_N = torch.tensor([True] * 5 + [False] * 2)
    weight_N = weights("seq-mean-token-mean", batch, among_N=among_N)
    assert weight_N.tolist() == close([1 / 8] * 4 + [1 / 2] + [0, 0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k1", 0.5),
        ("abs", 0.5),
        ("k2", 0.125),
        ("k3", 0.10653),
        ("low_var_kl", 0.10653),
        ("corrected_k3", 0.13012),
    ],
)
def test_divergence_of_a_token(name, value):
    given = (torch.tensor([x]) for x in (-1.0, -1.5, -1.2))
    assert KL_ESTIMATORS[name](*given).item() == close(value, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "gradient"), [("k1", 0.0), ("k2", -0.34657), ("k3", -0.3), ("low_var_kl", -0.3)]
)
def test_gradient_of_a_divergence_on_policy(name, gradient):
    """p = [.5, .5], reference [.8, .2]; by the first logit, each token as often as it is drawn."""
    logits = torch.zeros(2, requires_grad=True)
    logprobs, ref = logits.log_softmax(0), torch.tensor([0.8, 0.2]).log()
    values = KL_ESTIMATORS[name](logprobs, ref, logprobs.detach())
    (logprobs.detach().exp() * values).sum().backward()
    assert logits.grad[0].item() == close(gradient, abs=1e-5)


def test_the_divergence_in_the_reward_reaches_every_token():
    member = rollout(2, reward=1.0, proximal=[[-1.0, -1.0]], reference=[[-1.5, -1.2]])
    algorithm = get_algorithm(
        algorithm_type="reinforceplusplus", kl_penalty_fn="k1", kl_penalty_fn_args={"kl_coef": 0.1}
    )
    algorithm.advantages([RolloutGroup("g", {}, [member])])
    # rewards -.05 and .98, so returns .93 and .98; whitened they are apart by sqrt(2)
    assert member.trajectory.segments[1].sampled.columns["penalty"] == close([0.05, 0.02])
    assert member.reward == 1.0
    assert member.trajectory.segments[1].sampled.columns["advantage"] == close(
        [-0.025 / (0.00125 + 1e-8) ** 0.5, 0.025 / (0.00125 + 1e-8) ** 0.5], abs=1e-5
    )


def test_an_advantage_of_one_number_sees_the_summed_penalty():
    members = [
        rollout(2, reward=1.0, name=n, proximal=[[-1.0, -1.0]], reference=[[ref, ref]])
        for n, ref in (("a", -1.5), ("b", -1.0))
    ]
    algorithm = get_algorithm(
        algorithm_type="rloo", kl_penalty_fn="k1", kl_penalty_fn_args={"kl_coef": 0.1}
    )
    algorithm.advantages([RolloutGroup("g", {}, members)])
    assert [member.advantage for member in members] == close([-0.1, 0.1])


def test_the_adaptive_weight():
    term = KlTerm(KL_ESTIMATORS["k2"], 0.001, adaptive=True, target=0.1, horizon=1000)
    term.adapt(0.2, 64)
    assert term.kl_coef == close(0.0010128, abs=1e-9)
    resumed = KlTerm(KL_ESTIMATORS["k2"], 0.001, adaptive=True)
    resumed.load_state_dict(term.state_dict())
    assert resumed.kl_coef == term.kl_coef


def test_the_adaptive_weight_follows_what_a_step_measured():
    algorithm = get_algorithm(
        kl_loss_fn="k2", kl_loss_fn_args={"adaptive": True, "target": 0.1, "horizon": 1000}
    )
    algorithm.after_step({"policy/kl_reference": 0.2}, [group(*[1.0] * 64)])
    assert algorithm.kl_loss.kl_coef == close(0.0010128, abs=1e-9)


def test_the_total():
    """policy .5, entropy .7, divergence .1 with .01 and .001."""
    d = 0.2**0.5
    loss, _ = loss_and_gradient(
        [[-1.0]],
        [[-1.0]],
        [[-0.5]],
        entropy=[[0.7]],
        columns={"reference": [[-1.0 - d]]},
        entropy_coef=0.01,
        kl_loss_fn="k2",
        kl_loss_fn_args={"kl_coef": 0.001},
    )
    assert loss == close(0.4931, abs=1e-6)


def test_groups_of_one_get_no_advantage_of_what_compares():
    for name in ("grpo", "rloo", "opmd", "asymre", "rec", "maxrl", "gigpo"):
        algorithm = get_algorithm(advantage_fn=name)
        one = group(0.7)
        algorithm.advantages([one])
        assert one.rollouts[0].advantage is None, name
        assert algorithm.compares, name


def test_the_reference_is_needed_only_while_its_weight_is_not_zero():
    assert not get_algorithm(kl_loss_fn="k2", kl_loss_fn_args={"kl_coef": 0.0}).needs_reference
    assert get_algorithm(kl_loss_fn="k2").needs_reference


def test_a_penalty_in_the_reward_is_measured_and_may_follow_its_target():
    algorithm = get_algorithm(
        algorithm_type="grpo",
        kl_penalty_fn="k1",
        kl_penalty_fn_args={"kl_coef": 0.1, "adaptive": True, "target": 0.1, "horizon": 10},
    )
    members = [
        rollout(2, reward=r, proximal=[[-1.0, -1.0]], reference=[[-1.5, -1.2]]) for r in (1.0, 0.0)
    ]
    groups = [RolloutGroup("g", {}, members)]
    algorithm.advantages(groups)
    batch = Batch(groups)
    algorithm.prepare(batch)
    _, metrics = algorithm.loss(Tokens(batch.columns["proximal"], flat([[0] * 4]), batch.columns))
    assert metrics["kl_penalty"].tolist() == close([0.5, 0.2] * 2)
    algorithm.after_step({"policy/kl_penalty": 0.35}, groups)
    assert algorithm.kl_penalty.kl_coef == close(0.1 * (1 + 0.2 * 2 / 10))
