"""Section 2: sft, its weights, raft, dpo."""

import math

import pytest
import torch
from worked import advantages, flat, group, loss_and_gradient, rollout

from agentscope_tuner.algorithms.base import Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


@pytest.mark.parametrize(("mode", "loss"), [("token-mean", 2.0), ("seq-mean-token-mean", 1.75)])
def test_sft(mode, loss):
    value, _ = loss_and_gradient(
        [[-1], [-2, -3]], [[0], [0, 0]], [[1], [1, 1]], algorithm_type="sft", loss_agg_mode=mode
    )
    assert value == close(loss)


@pytest.mark.parametrize(("name", "loss"), [("sft_is", 0.22389), ("sft_phi", 0.13000)])
def test_weighed_likelihoods(name, loss):
    logprobs = [[math.log(p) for p in (0.9, 0.5, 0.1)]]
    value, gradient = loss_and_gradient(
        logprobs, [[0] * 3], [[1] * 3], algorithm_type="sft", policy_loss_fn=name
    )
    assert value == close(loss, abs=1e-5)
    expected = {"sft_is": [0.9, 0.5, 0.1], "sft_phi": [0.09, 0.25, 0.09]}[name]
    assert gradient == close([-w / 3 for w in expected], abs=1e-5)


def test_likelier_tokens_than_the_cutoff_have_no_gradient():
    _, gradient = loss_and_gradient(
        [[math.log(0.9), math.log(0.5)]],
        [[0, 0]],
        [[1, 1]],
        algorithm_type="sft",
        policy_loss_fn="sft_phi",
        policy_loss_fn_args={"cutoff_prob": 0.8},
    )
    assert gradient[0] == 0
    assert gradient[1] == close(-0.125)


def test_raft_keeps_the_best():
    assert advantages("best", [group(0.2, 0.9, 0.5)]) == [[None, 1.0, None]]


def test_raft_learns_nothing_from_failures():
    assert advantages("best", [group(0.0, 0.0)]) == [[None, None]]


@pytest.mark.parametrize(
    ("smoothing", "loss", "c"), [(0.0, 0.644397, 0.047502), (0.1, 0.654397, 0.037502)]
)
def test_dpo(smoothing, loss, c):
    found, gradient = pairs_loss([(-2, -3, -2.5, -2.5)], label_smoothing=smoothing)
    assert found == close(loss, abs=1e-5)
    assert gradient == close([-c, c], abs=1e-5)


def test_dpo_is_the_mean_over_pairs():
    found, _ = pairs_loss([(-2, -3, -2.5, -2.5), (-4, -2, -3, -3)])
    assert found == close(0.721268, abs=1e-5)
    assert pairs_loss([(-4, -2, -3, -3)])[0] == close(0.798139, abs=1e-5)


def pairs_loss(pairs, **args):
    """Of (chosen, rejected, their references), one token each."""
    rows = [member for pair in pairs for member in (pair[0::2], pair[1::2])]
    algorithm = get_algorithm(algorithm_type="dpo", policy_loss_fn_args=args)
    groups = [RolloutGroup(str(i), {}, [rollout(1), rollout(1)]) for i in range(len(pairs))]
    algorithm.advantages(groups)
    batch = Batch(groups)
    batch.columns["current"] = flat([[member[0]] for member in rows])
    batch.columns["reference"] = flat([[member[1]] for member in rows])
    algorithm.prepare(batch)
    logprobs_N = batch.columns["current"].clone().requires_grad_()
    loss_N, _ = algorithm.loss(Tokens(logprobs_N, torch.zeros(len(batch)), batch.columns))
    loss = (batch.columns["weight"] * loss_N).sum()
    loss.backward()
    return loss.item(), logprobs_N.grad.tolist()
