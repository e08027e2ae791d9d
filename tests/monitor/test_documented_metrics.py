from __future__ import annotations

import pytest

from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.trajectory import Rollout, RolloutGroup
from documented_metrics import documented_keys, is_documented


def test_the_page_has_each_key_once() -> None:
    keys = documented_keys()
    assert len(keys) > 30
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    "key", ["step", "eval/test/reward/mean", "judge/has space", "rollout/branches/forked"]
)
def test_names_fit_the_documented_patterns(key: str) -> None:
    assert is_documented(key)


@pytest.mark.parametrize("key", ["reward", "reward/mean/x", "eval//reward/mean", "unit"])
def test_other_keys_do_not(key: str) -> None:
    assert not is_documented(key)


def test_all_metrics_of_rollouts_are_documented(rollouts: list[Rollout]) -> None:
    rollouts[0].metrics = {"workflow/accuracy": 1.0, "judge/length": 2.0}
    rollouts[0].trajectory.calls[0].branch = "forked"
    for key in summarize([RolloutGroup("g", {}, rollouts)]):
        assert is_documented(key), key
        assert is_documented(f"eval/test/{key}"), key
