"""Section 7: rollouts and what experts wrote down."""

import pytest
import torch
from worked import flat, rollout

from agentscope_tuner.algorithms.base import Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.engine.experts import experts_beside
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


def mixed(step=0, **settings):
    """Loss and gradient of a batch: two rollouts' tokens, then an expert's two; their ln p."""
    rollouts = [rollout(2, reward=r, sampler=[[-1, -1]]) for r in (1.0, 0.0)]
    expert = rollout(2, sampler=[[0, 0]], expert=True)
    groups = [RolloutGroup("g", {}, rollouts), RolloutGroup("e", {}, [expert])]
    algorithm = get_algorithm(**settings)
    algorithm.advantages(groups)
    batch = Batch(groups, step=step)
    algorithm.prepare(batch)
    logprobs_N = flat([[-1, -1], [-1, -1], [-1, -3]]).requires_grad_()
    entropy_N = torch.full_like(logprobs_N, 2.0).detach()
    columns = batch.columns | {"reference": logprobs_N.detach() - 1}
    loss_N, metrics = algorithm.loss(Tokens(logprobs_N, entropy_N, columns))
    loss = (columns["weight"] * loss_N).sum()
    loss.backward()
    return loss.item(), logprobs_N.grad.tolist(), metrics


def test_mix_weighs_each_half_by_a_divisor_of_its_own():
    loss, grad, metrics = mixed(algorithm_type="mix", policy_loss_fn_args={"mu": 0.1})
    # the rollouts' half is 0 (ratio 1, A +-.7071), the experts' (1 + 3) / 2
    assert loss == close(0.1 * 2, abs=1e-5)
    half = 0.9 * 0.70711 / 4
    assert grad == close([-half, -half, half, half, -0.05, -0.05], abs=1e-5)
    assert metrics["kl_sampler_learner"].tolist() == close([0] * 6)


def test_a_grpo_loss_of_a_half_and_an_sft_loss_of_two():
    rewarded = [rollout(1, advantage=-0.5, reward=0.0, sampler=[[-1]]), rollout(1, expert=True)]
    rewarded[1].advantage = 1.0
    algorithm = get_algorithm(algorithm_type="mix")
    batch = Batch([RolloutGroup(str(i), {}, [r]) for i, r in enumerate(rewarded)])
    algorithm.prepare(batch)
    loss_N, _ = algorithm.loss(Tokens(flat([[-1], [-2]]), torch.zeros(2), batch.columns))
    assert (batch.columns["weight"] * loss_N).sum() == close(0.65, abs=1e-5)


def test_divergence_and_entropy_are_of_the_rollouts_alone():
    plain, _, _ = mixed(algorithm_type="mix")
    terms, _, _ = mixed(
        algorithm_type="mix",
        kl_loss_fn="k2",
        kl_loss_fn_args={"kl_coef": 0.1},
        entropy_coef=0.01,
        importance_correction="truncated",
    )
    assert terms - plain == close(0.1 * 0.5 - 0.01 * 2.0, abs=1e-5)


def test_the_aggregation_of_a_half_can_be_chosen():
    sums, _, _ = mixed(
        algorithm_type="mix", policy_loss_fn_args={"sft_loss_agg_mode": "seq-mean-token-sum"}
    )
    assert sums == close(0.1 * 4, abs=1e-5)


def test_chords_course_of_mu():
    args = {"mu_warmup_steps": 2, "mu_decay_steps": 4, "mu_peak": 0.9, "mu_valley": 0.1}
    course = get_algorithm(algorithm_type="mix_chord", policy_loss_fn_args=args).policy_loss.mu_at
    expected = [0, 0.45, 0.9, 0.7828, 0.5, 0.2172, 0.1, 0.1]
    assert [course(step) for step in range(8)] == close(expected, abs=1e-4)
    plain = {**args, "enable_phi_function": False}
    losses = [
        mixed(step, algorithm_type="mix_chord", policy_loss_fn_args=plain)[0] for step in range(8)
    ]
    assert losses == close([2 * mu for mu in expected], abs=1e-3)


def test_chord_weighs_an_experts_token_by_p_1_minus_p():
    loss, grad, _ = mixed(algorithm_type="mix_chord")
    p = torch.tensor([-1.0, -3.0]).exp()
    weight = p * (1 - p)
    assert loss == close(0.1 * float(weight @ torch.tensor([1.0, 3.0])) / 2, abs=1e-5)
    assert grad[4:] == close((-0.1 * weight / 2).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("rollouts", "ratio", "experts"), [(7, 0.25, 3), (8, 0.5, 8), (9, 0.1, 1), (10, 0.1, 2)]
)
def test_the_number_of_experts_follows_from_the_rollouts(rollouts, ratio, experts):
    assert experts_beside(rollouts, ratio) == experts


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("mix", {"mu": 1.5}, "mu is 1.5; it must be between 0 and 1"),
        ("mix", {"train_batch_size_usual": 8}, "train_batch_size_usual is not served by mix"),
        ("mix_chord", {"mu": 0.5}, "mu_peak, mu_valley and their steps say it"),
        ("mix_chord", {"sft_loss_agg_mode": "sum"}, "it must be one of token-mean"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name, args, message):
    with pytest.raises(InputError, match=message):
        get_algorithm(algorithm_type=name, policy_loss_fn_args=args)
