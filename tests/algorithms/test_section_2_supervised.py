"""Section 2: sft, its weights, raft, dpo."""

import math

import pytest
from worked import advantages, group, loss_and_gradient

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
