"""Losses per token against values computed by hand."""

import math

import pytest
import torch

from agentscope_tuner.algorithms.base import Tokens
from agentscope_tuner.algorithms.registry import get_algorithm


def tokens(logprobs, sampler, advantages, entropy=0.0, **columns):
    """Tokens whose old policy is the sampler, as without a correction."""
    columns = {"sampler": sampler, "old": sampler, "advantage": advantages, **columns}
    return Tokens(
        torch.tensor(logprobs, requires_grad=True),
        torch.full((len(logprobs),), entropy),
        {name: torch.tensor(v) for name, v in columns.items() if v is not None},
    )


def rule(**settings):
    return get_algorithm(**{"algorithm_type": "grpo", **settings})


LOG = math.log


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.1, 2.0, -2.2, 0.0),
        (1.5, 2.0, -2.4, 1.0),  # cut at 1.2
        (0.5, 2.0, -1.0, 0.0),  # the pessimistic side is kept
        (1.5, -2.0, 3.0, 0.0),
        (0.5, -2.0, 1.6, 1.0),  # cut at 0.8
    ],
)
def test_the_surrogate_is_clipped_where_that_makes_it_worse(ratio, advantage, loss, clipped):
    given = tokens([LOG(ratio)], [0.0], [advantage])
    loss_N, metrics = rule().loss(given)
    assert loss_N.item() == pytest.approx(loss)
    assert metrics["clip_fraction"].item() == clipped
    loss_N.sum().backward()
    assert given.logprobs_N.grad.item() == pytest.approx(0.0 if clipped else -ratio * advantage)


def test_two_separate_clip_ranges():
    args = {"clip_range_low": 0.1, "clip_range_high": 0.4}
    algorithm = rule(policy_loss_fn_args=args)
    loss_N, _ = algorithm.loss(tokens([LOG(1.5), LOG(0.5)], [0.0, 0.0], [1.0, -1.0]))
    assert loss_N.tolist() == pytest.approx([-1.4, 0.9])


def test_truncated_importance_weights_bound_the_gradient_of_every_token():
    algorithm = rule(importance_correction="truncated")
    given = tokens([LOG(0.5), LOG(1.5), LOG(3.0)], [0.0, 0.0, 0.0], [1.0, 1.0, -1.0], old=None)
    loss_N, metrics = algorithm.loss(given)
    loss_N.sum().backward()
    # d loss / d ln p = -weight * advantage, with weights 0.5, 1.5 and 3 cut to 2
    assert given.logprobs_N.grad.tolist() == pytest.approx([-0.5, -1.5, 2.0])
    assert metrics["corrected_fraction"].tolist() == [0.0, 0.0, 1.0]
    assert metrics["clip_fraction"].tolist() == [0.0, 0.0, 0.0]


def test_in_a_later_update_clipping_is_relative_to_the_learner_before_the_first():
    algorithm = rule(importance_correction="truncated")
    given = tokens([LOG(0.6), LOG(0.6)], [LOG(0.2), LOG(0.2)], [1.0, -1.0], old=[LOG(0.4)] * 2)
    loss_N, metrics = algorithm.loss(given)
    # ratio 0.6 / 0.4 = 1.5 is cut at 1.2 for the good token; the weight 0.4 / 0.2 is at its cap
    assert loss_N.tolist() == pytest.approx([-2 * 1.2, 2 * 1.5])
    assert metrics["clip_fraction"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("k2", 0.5 * LOG(2.0) ** 2),
        ("low_var_kl", 0.5 - 1.0 + LOG(2.0)),
    ],
)
def test_divergence_from_the_reference_is_added(name, expected):
    algorithm = rule(kl_loss_fn=name, kl_loss_fn_args={"kl_coef": 0.1})
    given = tokens([LOG(0.5)], [LOG(0.5)], [0.0], reference=[LOG(0.25)])
    loss_N, metrics = algorithm.loss(given)
    assert loss_N.item() == pytest.approx(0.1 * expected)
    assert metrics["kl_reference"].item() == pytest.approx(expected)
    assert algorithm.needs_reference
    assert algorithm.learns_without_advantage


def test_one_extreme_token_cannot_rule_the_divergence():
    algorithm = rule(kl_loss_fn="low_var_kl", kl_loss_fn_args={"kl_coef": 1.0})
    loss_N, _ = algorithm.loss(tokens([-90.0], [-90.0], [0.0], reference=[-1.0]))
    assert loss_N.item() == 10.0


def test_the_entropy_bonus_is_subtracted():
    algorithm = rule(entropy_coef=0.5)
    loss_N, _ = algorithm.loss(tokens([-1.0], [-1.0], [0.0], entropy=3.0))
    assert loss_N.item() == pytest.approx(-1.5)


def test_imitation_is_the_negative_log_likelihood():
    algorithm = get_algorithm(algorithm_type="sft")
    loss_N, metrics = algorithm.loss(tokens([-1.5, -0.25], [0.0, 0.0], [1.0, 1.0]))
    assert loss_N.tolist() == [1.5, 0.25]
    assert metrics == {}
    assert algorithm.data == "conversations"
    assert not algorithm.compares
