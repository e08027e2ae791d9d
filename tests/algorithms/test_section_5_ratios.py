"""Section 5: treatments of the ratio."""

import math

import pytest
from worked import advantages, at_ratios, loss_and_gradient, rollout, token_advantages

from agentscope_tuner.trajectory import RolloutGroup

close = pytest.approx


def test_cispo_keeps_every_gradient():
    _, grad = at_ratios([2, 1, 0.5, 4], 1.0, algorithm_type="cispo")
    assert [-4 * g for g in grad] == close([1.28, 1, 0.5, 1.28])
    loss, _ = loss_and_gradient([[-1]], [[-1 - math.log(2)]], [[-1]], algorithm_type="cispo")
    assert loss == close(-1.28, abs=1e-5)


@pytest.mark.parametrize(
    ("advantage", "weights"), [(1.0, [0, 1, 0.5, 0]), (-1.0, [1.28, 1, 0.5, 1.28])]
)
def test_cispo_mask_drops_what_has_moved_as_pushed(advantage, weights):
    args = {"enable_mask_clip": True}
    _, grad = at_ratios([2, 1, 0.5, 4], advantage, algorithm_type="cispo", policy_loss_fn_args=args)
    assert grad == close([-advantage * w / 4 for w in weights], abs=1e-6)


@pytest.mark.parametrize(
    ("mode", "loss"), [("seq-mean-token-mean", 0.012721), ("token-mean", -0.326524)]
)
def test_gspo(mode, loss):
    value, grad = loss_and_gradient(
        [[0.02, -0.01], [0.03]],
        [[0, 0], [0]],
        [[1, 1], [-1]],
        algorithm_type="gspo",
        policy_loss_fn_args={"clip_range_low": 0.01, "clip_range_high": 0.01},
        loss_agg_mode=mode,
    )
    assert value == close(loss, abs=1e-5)
    if mode == "seq-mean-token-mean":
        assert grad == close([-0.25125, -0.25125, 0.51523], abs=1e-5)


@pytest.mark.parametrize(
    ("advantage", "loss", "weights"),
    [
        (1.0, [-2.9242, -2, -1.5102, -3.8103], [1.5729, 1, 0.4700, 0.7228]),
        (-1.0, [2.8220, 1.9048, 1.4159, 3.6530], [1.5362, 1, 0.4671, 0.6304]),
    ],
)
def test_sapo_is_soft_on_both_sides(advantage, loss, weights):
    value, grad = at_ratios([2, 1, 0.5, 4], advantage, algorithm_type="sapo")
    assert value == close(sum(loss) / 4, abs=1e-4)
    assert [-advantage * 4 * g for g in grad] == close(weights, abs=1e-4)


def test_topr_by_token():
    args = {"ratio_level": "token"}
    _, grad = at_ratios([2, 1, 0.5], -1.0, algorithm_type="topr", policy_loss_fn_args=args)
    assert [3 * g for g in grad] == close([1, 1, 0.5])


def test_topr_by_sequence():
    _, grad = loss_and_gradient([[-1.5, -1.7]], [[-1, -1]], [[-1, -1]], algorithm_type="topr")
    assert [2 * g for g in grad] == close([0.30119, 0.30119], abs=1e-5)
    _, grad = loss_and_gradient([[-1.5, -1.7]], [[-1, -1]], [[1, 1]], algorithm_type="topr")
    assert [2 * g for g in grad] == close([-1, -1])


def test_m2po_bounds_the_second_moment():
    loss, grad = loss_and_gradient(
        [[0.1, 0.6, -0.5, 0.2, -0.1]], [[0] * 5], [[1, 1, 1, 1, -1]], algorithm_type="m2po"
    )
    assert loss == close(-0.405653, abs=1e-5)
    assert grad[1] == 0
    assert all(grad[i] for i in (0, 2, 3, 4))


@pytest.mark.parametrize(("delta", "keeps"), [(0.1, False), (0.3, True)])
def test_the_off_policy_mask_of_ppo(delta, keeps):
    _, grad = loss_and_gradient(
        [[-0.3, -0.1]],
        [[0, 0]],
        [[-1, -1]],
        policy_loss_fn_args={"enable_sequence_masking": True, "delta_sequence_masking": delta},
    )
    assert any(grad) == keeps


@pytest.mark.parametrize(("reward", "first"), [(0.0, 0.0), (1.0, 0.7071)])
def test_clipb_lets_a_bad_token_go_that_costs_entropy(reward, first):
    """S [-.04979, .15343, .26518, .23350]: the first is .20037 below the mean, the bound .18396."""
    logprobs = [math.log(p) for p in (0.05, 0.5, 0.9, 0.6)]
    entropies = [2, 1, 0.4, 0.9]
    member = rollout(4, reward=reward, proximal=[logprobs], entropy=[entropies])
    other = rollout(0, reward=1 - reward, proximal=[[]], entropy=[[]])
    advantages("clipb", [RolloutGroup("g", {}, [member, other])], mu=1.5)
    sign = 1 if reward else -1
    assert token_advantages(member) == [close([first, *[sign * 0.7071] * 3], abs=1e-4)]


@pytest.mark.parametrize(
    ("max_frac", "left_out"), [(1.0, [0, 1]), (0.5, [0, 1]), (0.3, [0]), (1e-4, [0])]
)
def test_clipv_lets_the_worst_go_of_what_is_not_good(max_frac, left_out):
    """d [2, 1.5, 0, 1.8], of which the last is of the good rollout; deviation .7917, bound .8."""
    logprobs = [0.0] * 3
    bad = rollout(
        3,
        reward=0.0,
        proximal=[logprobs],
        entropy=[[0.0] * 3],
        expected_push=[[2.0, 1.5, 0.0]],
    )
    good = rollout(1, reward=1.0, proximal=[[0.0]], entropy=[[0.0]], expected_push=[[1.8]])
    advantages("clipv", [RolloutGroup("g", {}, [bad, good])], mu=1.0, max_frac=max_frac)
    expected = [0.0 if i in left_out else -0.7071 for i in range(3)]
    assert token_advantages(bad) == [close(expected, abs=1e-4)]
    assert token_advantages(good) == [close([0.7071], abs=1e-4)]
