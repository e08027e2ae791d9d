"""Advantages against values computed by hand."""

import math

import pytest

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory


def rollout(reward, calls=1):
    segments = []
    for _ in range(calls):
        segments.append(Segment(len(segments) - 1 if segments else None, [1, 2]))
        segments.append(Segment(len(segments) - 1, [3], Sampled([-1.0], [False], "m", 0)))
    return Rollout("r", {}, Trajectory(segments), reward=reward)


def group(*rewards, calls=None):
    calls = calls or [1] * len(rewards)
    return RolloutGroup("g", {}, [rollout(r, c) for r, c in zip(rewards, calls, strict=True)])


def advantages(*groups, algorithm_type="multi_step_grpo", **args):
    get_algorithm(algorithm_type=algorithm_type, advantage_fn_args=args).advantages(groups)
    return [[rollout.advantage for rollout in group.rollouts] for group in groups]


@pytest.mark.parametrize("algorithm_type", ["grpo", "multi_step_grpo"])
def test_score_is_the_distance_from_the_mean_in_bessel_corrected_deviations(algorithm_type):
    # mean 0.5; squares 0.25 * 4 = 1; over n - 1 = 3
    std = math.sqrt(1 / 3)
    expected = 0.5 / (std + 1e-6)
    assert advantages(group(1.0, 0.0, 1.0, 0.0), algorithm_type=algorithm_type) == [
        pytest.approx([expected, -expected, expected, -expected], rel=1e-12)
    ]


def test_failed_rollouts_are_left_out_of_the_statistics_and_of_training():
    # rewards 0, 1, 2: mean 1, std 1
    scale = 1 / (1 + 1e-6)
    assert advantages(group(0.0, None, 1.0, 2.0, None)) == [
        [pytest.approx(-scale), None, 0.0, pytest.approx(scale), None]
    ]


@pytest.mark.parametrize("rewards", [(5.0, None, None), (None, None), (3.0,)])
def test_a_lone_survivor_gets_no_advantage(rewards):
    assert advantages(group(*rewards)) == [[None] * len(rewards)]


@pytest.mark.parametrize("reward", [0.1, 1 / 3, 0.7, 1e9])
def test_equal_rewards_give_exactly_zero(reward):
    assert advantages(group(*[reward] * 7)) == [[0.0] * 7]


def test_groups_at_or_below_the_threshold_are_not_trained_on():
    # std of (0, 1) is sqrt(1/2)
    at, above = group(0.0, 1.0), group(0.0, 2.0)
    result = advantages(at, above, std_threshold=math.sqrt(0.5))
    assert result[0] == [None, None]
    assert result[1] == pytest.approx([-1 / math.sqrt(2), 1 / math.sqrt(2)], rel=1e-5)


def test_batch_level_deviation_is_over_every_reward_while_the_mean_stays_the_groups():
    # rewards 0, 2, 4, 4: mean 2.5, squares 6.25 + 0.25 + 2.25 + 2.25 = 11, over 3
    std = math.sqrt(11 / 3) + 1e-6
    result = advantages(group(0.0, 2.0), group(4.0, None, 4.0), std_cal_level="batch")
    assert result == [pytest.approx([-1 / std, 1 / std]), [0.0, None, 0.0]]


def test_no_deviation_level_leaves_the_centred_reward():
    assert advantages(group(0.0, 3.0), std_cal_level="none") == [[-1.5, 1.5]]


def test_step_norm_divides_by_the_number_of_model_calls():
    plain = advantages(group(0.0, 1.0, calls=[4, 2]))[0]
    normed = advantages(group(0.0, 1.0, calls=[4, 2]), enable_step_norm=True)[0]
    assert normed == pytest.approx([plain[0] / 4, plain[1] / 2])


def test_epsilon_takes_effect():
    assert advantages(group(0.0, 2.0), epsilon=1.0)[0] == pytest.approx(
        [-1 / (math.sqrt(2) + 1), 1 / (math.sqrt(2) + 1)]
    )


def test_a_demonstration_is_worth_one():
    assert advantages(group(None, None), algorithm_type="sft") == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm_type": "magic"}, "'magic' is not known; .*known are: .*grpo.*sft"),
        ({"algorithm_type": "grop"}, "did you mean grpo"),
        ({"advantage_fn_args": {"std_level": "group"}}, "'std_level' is not known"),
        ({"advantage_fn_args": {"std_cal_level": "task"}}, "group, batch, none"),
        (
            {"algorithm_type": "grpo", "advantage_fn_args": {"enable_step_norm": True}},
            "advantage_fn_args: an argument of grpo, 'enable_step_norm' is not known",
        ),
        ({"policy_loss_fn": "recc"}, "policy_loss_fn 'recc' is not known"),
        ({"policy_loss_fn_args": {"clip_range": -1}}, "clip_range is -1"),
        ({"kl_loss_fn": "k9"}, "none, k1, k2"),
        ({"kl_loss_fn": "k1"}, "no gradient on average"),
        ({"importance_correction": "some"}, "none, truncated"),
        ({"importance_correction_args": {"cap": 2}}, "none has no argument 'cap'"),
        (
            {"algorithm_type": "sft", "importance_correction": "truncated"},
            "no use for importance_correction",
        ),
        ({"loss_agg_mode": "mean"}, "token-mean, seq-mean-token-mean"),
        ({"kl_loss_fn_args": {"kl_coef": 0.1}}, "no effect without a kl_loss_fn"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_known(arguments, message):
    with pytest.raises(InputError, match=message):
        get_algorithm(**{"algorithm_type": "multi_step_grpo", **arguments})


def test_arguments_are_merged_with_the_defaults():
    algorithm = get_algorithm(advantage_fn_args={"enable_step_norm": True})
    assert algorithm.advantage.epsilon == 1e-6
    assert algorithm.advantage.enable_step_norm
