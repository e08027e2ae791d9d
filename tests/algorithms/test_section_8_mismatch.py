"""Section 8: corrections for the sampler's probabilities."""

import math

import pytest
from worked import flat, loss_and_gradient, rollout

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.mismatch import Correction
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx
LOG_W = [0.1, -1.5, 0.8, -10, 0.3]
W = [1.10517, 0.22313, 2.22554, 0.00005, 1.34986]


def weight_of(mode, log_w=LOG_W, **bounds):
    batch = Batch([RolloutGroup("g", {}, [rollout(len(log_w), advantage=1.0)])])
    return Correction.of(mode, bounds).of_batch(flat([log_w]), batch).tolist()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("truncated", [1.10517, 0.22313, 2, 0.00005, 1.34986]),
        ("icepop", [1.10517, 0, 2.22554, 0, 1.34986]),
        ("sequence_truncated", [3.3633e-5] * 5),
        ("sequence_mask", [3.3633e-5] * 5),
        ("geometric_mask", [0] * 5),
        ("veto", [0] * 5),
    ],
)
def test_weights_of_the_worked_sample(mode, expected):
    assert weight_of(mode) == close(expected, abs=1e-5, rel=1e-4)


def test_the_product_is_cut_or_masked_above_its_cap():
    log_w = [math.log(2), math.log(2)]
    assert weight_of("sequence_truncated", log_w) == close([2, 2])
    assert weight_of("sequence_mask", log_w) == [0, 0]
    assert weight_of("sequence_mask", log_w, cap=5) == close([4, 4])


def test_the_geometric_mean_decides_for_a_sample():
    mean = math.exp(sum(LOG_W) / 5)
    assert mean == close(0.12745, abs=1e-5)
    assert weight_of("geometric_mask", low=0.127, high=0.128) == [1] * 5
    assert weight_of("geometric_mask", [0.005, -0.005]) == [1, 1]


def test_one_token_vetoes_its_sample_alone():
    members = [rollout(2, advantage=1.0), rollout(2, advantage=1.0)]
    batch = Batch([RolloutGroup("g", {}, members)])
    found = Correction.of("veto").of_batch(flat([[0.1, -10], [0.1, 0.1]]), batch)
    assert found.tolist() == [0, 0, 1, 1]


def test_rejected_tokens_stay_in_the_divisor():
    _, grad = loss_and_gradient(
        [LOG_W],
        [[0.0] * 5],
        [[1.0] * 5],
        columns={"proximal": [LOG_W]},
        importance_correction="icepop",
    )
    assert grad == close([-w / 5 for w in (W[0], 0, W[2], 0, W[4])], abs=1e-5)
