"""Section 4: baselines from groups."""

import math

import pytest
from worked import advantages, at_ratios, group, loss_and_gradient, rollout

from agentscope_tuner.algorithms.dapo import DAPO
from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx
LOG = math.log


@pytest.mark.parametrize(
    ("name", "args", "rewards", "expected"),
    [
        ("grpo", {}, [1, 0, 0, 1], [0.866024, -0.866024, -0.866024, 0.866024]),
        ("grpo", {"std_cal_level": "none"}, [1, 0, 0, 1], [0.5, -0.5, -0.5, 0.5]),
        ("grpo", {}, [0.7] * 4, [0.0] * 4),
        ("rloo", {}, [1, 0, 0, 1], [0.66667, -0.66667, -0.66667, 0.66667]),
        (
            "opmd",
            {"opmd_baseline": "logavgexp"},
            [1, 0, 0, 0],
            [0.64263, -0.35737, -0.35737, -0.35737],
        ),
        ("asymre", {}, [1, 0, 0, 0], [0.85, -0.15, -0.15, -0.15]),
        ("rec", {"std_normalize": True}, [1, 0, 0, 1], [1, -1, -1, 1]),
        ("rec", {}, [1, 0, 0, 1], [0.5, -0.5, -0.5, 0.5]),
    ],
)
def test_group_baselines(name, args, rewards, expected):
    assert advantages(name, [group(*rewards)], **args)[0] == close(expected, abs=1e-5)


def test_batch_deviation():
    found = advantages("grpo", [group(1, 0), group(1, 1)], std_cal_level="batch")
    assert found[0] == close([1, -1], abs=1e-5)
    assert found[1] == [0, 0]


def test_the_rank_penalty_scores_the_penalised_rewards():
    members = [
        rollout(1, reward=r, sampler=[[lp]], name=str(i))
        for i, (r, lp) in enumerate([(1, -4), (1, -1), (0, -2), (0, -3)])
    ]
    [found] = advantages("grpo", [RolloutGroup("g", {}, members)], rank_penalty=0.5)
    assert found == close([1.203, 0.443, -0.823, -0.823], abs=1e-3)


@pytest.mark.parametrize(
    ("norm", "expected"), [(False, [0.7071, -0.7071]), (True, [0.3536, -0.7071])]
)
def test_multi_step_grpo(norm, expected):
    members = [rollout(1, 1, reward=1.0), rollout(1, reward=0.0)]
    found = advantages("step_wise_grpo", [RolloutGroup("g", {}, members)], enable_step_norm=norm)
    assert found[0] == close(expected, abs=1e-4)


def test_dapo_clips_later_above():
    assert at_ratios([1.25], 1.0, algorithm_type="dapo")[0] == close(-1.25)
    assert at_ratios([1.25], 1.0, algorithm_type="dapo")[1] == close([-1.25])
    assert at_ratios([1.29], 1.0, algorithm_type="dapo")[1] == [0]
    assert DAPO.kl_penalty_fn == "none"


def test_dr_grpo_divides_by_a_constant():
    """Two samples, L = 4: gradients -A / (B L), whatever their lengths."""
    _, grad = loss_and_gradient(
        [[-1] * 4, [-1]],
        [[-1] * 4, [-1]],
        [[0.5] * 4, [-0.5]],
        algorithm_type="dr_grpo",
        aggregation_length=4,
    )
    assert grad == close([-0.5 / 8] * 4 + [0.5 / 8])


def test_opmd_loss():
    loss, grad = loss_and_gradient([[-1, -2]], [[-1, -2]], [[0.5, 0.5]], algorithm_type="opmd")
    assert loss == close(0.375)
    assert grad == close([-0.125, -0.125])


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_sppo_keeps_a_trust_region(advantage):
    _, grad = at_ratios([1.25, 1.4, 0.8, 0.7], advantage, algorithm_type="sppo")
    assert grad == close([-advantage / 4, 0, -advantage / 4, 0])


def test_sppo_loss():
    assert at_ratios([1.25], 1.0, algorithm_type="sppo")[0] == close(-0.223144, abs=1e-5)


@pytest.mark.parametrize(
    ("mode", "advantage", "kept"),
    [
        ("one-side", 1.0, [1, 1, 1, 0, 0]),
        ("two-side", 1.0, [0, 0, 1, 0, 0]),
        ("ring", 1.0, [1, 0, 1, 0, 0]),
        ("none", 1.0, [1, 1, 1, 1, 1]),
        ("one-side", -1.0, [0, 0, 1, 1, 1]),
        ("two-side", -1.0, [0, 0, 1, 0, 0]),
        ("ring", -1.0, [0, 0, 1, 0, 1]),
    ],
)
def test_rec_keeps(mode, advantage, kept):
    args = {"clip_mode": mode}
    _, grad = at_ratios(
        [0.3, 0.7, 1, 1.5, 3.5], advantage, algorithm_type="rec", policy_loss_fn_args=args
    )
    assert grad == close([-advantage * k / 5 for k in kept])


@pytest.mark.parametrize(
    ("args", "gradient"),
    [
        ({"weight": "advantage", "temp": 0.5}, -1.35914),
        ({"weight": "importance_sampling"}, -0.5 * 1.5),
        ({"regularizer": "k2", "regularizer_coef": 0.1}, -0.5 + 0.2 * LOG(1.5)),
        ({"regularizer": "forward-kl", "regularizer_coef": 0.1}, -0.6),
    ],
)
def test_rec_weights_and_regularizers(args, gradient):
    _, grad = at_ratios([1.5], 0.5, algorithm_type="rec", policy_loss_fn_args=args)
    assert grad == close([gradient], abs=1e-5)


def test_rec_balance_leaves_no_more_bad_than_good():
    [found] = advantages("rec", [group(1, 0, 0, 0)], drop="balance")
    assert found[0] == 0.5, "the mean is that of the rollouts that are left"
    assert sorted(found[1:]) == [-0.5, 0, 0]
