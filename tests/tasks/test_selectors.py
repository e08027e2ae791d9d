"""In which order samples are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from agentscope_tuner.errors import InputError
from agentscope_tuner.tasks import make_selector
from agentscope_tuner.tasks.difficulty import DifficultyEstimator


def rows(*pass_rates: float) -> list[dict]:
    return [{"weak": rate, "strong": (1 + rate) / 2, "text": "t"} for rate in pass_rates]


def test_shuffle_takes_a_new_order_each_epoch_and_another_for_another_seed():
    def epochs(seed: int) -> list[list[int]]:
        selector = make_selector(rows(*[0.5] * 20), "shuffle", seed=seed)
        return [selector.take(20) for _ in range(3)]

    assert len({tuple(epoch) for epoch in epochs(0) + epochs(1)}) == 6
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs(0))
    assert epochs(0) == epochs(0)


def test_random_never_repeats_a_sample_within_a_batch():
    selector = make_selector(rows(*[0.5] * 6), "random", seed=1)
    batches = [selector.take(5) for _ in range(20)]
    assert all(len(set(batch)) == 5 for batch in batches)
    assert len({tuple(batch) for batch in batches}) > 15
    assert sorted(selector.take(12)) == sorted([*range(6)] * 2)


def test_easy_to_hard_goes_from_high_features_to_low_ones():
    selector = make_selector(rows(0.1, 0.9, 0.5, 0.9), "offline_easy2hard", feature_keys=["weak"])
    assert selector.take(6) == [1, 3, 2, 0, 1, 3]


def test_easy_to_hard_breaks_ties_by_the_next_feature():
    data = [{"a": 1, "b": 0}, {"a": 1, "b": 5}, {"a": 2, "b": 0}]
    assert make_selector(data, "offline_easy2hard", feature_keys=["a", "b"]).take(3) == [2, 1, 0]


def test_difficulty_prefers_samples_whose_pass_rate_is_near_the_target():
    data = rows(*np.linspace(0, 1, 41))
    selector = make_selector(
        data,
        "difficulty_based",
        feature_keys=["weak", "strong"],
        kwargs={"target_reward": 0.5, "tau": 0, "m": 8},
    )
    selector.update(range(0, 41, 4), [data[i]["weak"] for i in range(0, 41, 4)])
    for _ in range(20):  # the model stays where it is: as good as the weaker one
        batch = selector.take(5)
        selector.update(batch, [data[i]["weak"] for i in batch])
    assert all(0.3 <= data[i]["weak"] <= 0.7 for i in selector.take(5))


def test_difficulty_draws_without_repeating_and_by_its_seed():
    def batches(seed: int, **kwargs: object) -> list[list[int]]:
        selector = make_selector(
            rows(*np.linspace(0, 1, 10)),
            "difficulty_based",
            seed=seed,
            feature_keys=["weak", "strong"],
            kwargs=kwargs,
        )
        return [selector.take(4) for _ in range(5)]

    assert batches(0) == batches(0) != batches(1)
    assert all(len(set(batch)) == 4 for batch in batches(0, do_sample=True))
    assert batches(0, do_sample=True, tau=0) != batches(1, do_sample=True, tau=0)


def test_observed_samples_count_whole_and_interpolated_ones_by_rho():
    estimator = DifficultyEstimator(
        np.array([[0.2, 0.6], [0.0, 1.0]]), m=10, lamb=0.5, rho=0.1, adaptive_rho=False
    )
    estimator.update([0], [0.4])
    assert estimator.capability == pytest.approx(0.5, abs=1e-5)
    # 0.5 * 1 + 0.5 + observed 10 * 0.4, and interpolated 0.1 * 10 * 0.5
    assert estimator.alpha_S == pytest.approx([5.0, 1.5], abs=1e-5)
    assert estimator.beta_S == pytest.approx([7.0, 1.5], abs=1e-5)
    assert estimator.pass_rates() == pytest.approx([5 / 12, 0.5], abs=1e-5)


def test_rho_is_halved_where_interpolation_misses():
    estimator = DifficultyEstimator(
        np.array([[0.0, 1.0], [0.0, 1.0]]), m=8, lamb=0.1, rho=0.4, adaptive_rho=True
    )
    estimator.update([0, 1], [0.0, 1.0])
    assert estimator.rho == 0.2


def test_rewards_outside_of_zero_and_one_are_cut():
    estimator = DifficultyEstimator(
        np.array([[0.0, 1.0]]), m=8, lamb=0.1, rho=0.4, adaptive_rho=False
    )
    estimator.update([0], [-5.0])
    assert estimator.alpha_S > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"selector_type": "hardest"},
            "selector_type .hardest. is not known; known are: difficulty_based, ",
        ),
        ({"selector_type": "offline_easy2hard"}, "needs feature_keys"),
        (
            {"selector_type": "offline_easy2hard", "feature_keys": ["loss"]},
            "no field 'loss' for feature_keys; it has weak, strong, text",
        ),
        (
            {"selector_type": "offline_easy2hard", "feature_keys": ["text"]},
            r"\['text'\] of feature_keys must be numbers",
        ),
        ({"selector_type": "shuffle", "feature_keys": ["weak"]}, "uses no feature_keys"),
        (
            {"selector_type": "shuffle", "kwargs": {"m": 8}},
            "an argument of shuffle, .m. is not known; known are: -",
        ),
        (
            {"selector_type": "difficulty_based", "feature_keys": ["weak"]},
            "takes two feature_keys",
        ),
        (
            {
                "selector_type": "difficulty_based",
                "feature_keys": ["weak", "strong"],
                "kwargs": {"target": 1},
            },
            ".target. is not known; did you mean target_reward. known are: adaptive_rho",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_selector(rows(0.1, 0.2), **arguments)
