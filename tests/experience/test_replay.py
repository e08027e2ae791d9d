"""What is learnt from again, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.priorities import make_priority
from agentscope_tuner.experience.replay import Replay, Replayed, ReplaySettings
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup, Sampled, Segment, Trajectory

RNG = np.random.default_rng(0)


def group(name: str, version: int, rollouts: int = 2) -> RolloutGroup:
    def rollout(index: int) -> Rollout:
        sampled = Sampled([-1.0], [False], "policy", version, columns={"proximal": [-2.0]})
        trajectory = Trajectory([Segment(None, [1]), Segment(0, [2], sampled)])
        trajectory.calls.append(Call(1, [], None, {}, "stop"))
        return Rollout(f"{name}-{index}", {}, trajectory, reward=float(index), advantage=1.0)

    return RolloutGroup(name, {}, [rollout(index) for index in range(rollouts)])


def buffer(**changes) -> Replay:
    settings = {"samples": 4, "capacity": 100, "cooldown_s": 0.0, "max_lag": None, "seed": 0}
    return Replay(ReplaySettings(make_priority("linear_decay", {}), **{**settings, **changes}))


def names(groups: list[RolloutGroup]) -> list[str]:
    return [one.id for one in groups]


@pytest.mark.parametrize(("version", "uses", "priority"), [(10, 1, 8), (9, 0, 9), (12, 2, 8)])
def test_priority_falls_with_every_use(version: int, uses: int, priority: float) -> None:
    assert make_priority("linear_decay", {})(version, uses, RNG) == priority


def test_a_limited_priority_ends_with_its_uses() -> None:
    limited = make_priority("decay_limit_randomization", {"use_count_limit": 2})
    assert limited(12, 1, RNG) == 10
    assert limited(12, 2, RNG) is None
    noisy = make_priority("decay_limit_randomization", {"sigma": 1.0})
    assert noisy(12, 1, np.random.default_rng(1)) == noisy(12, 1, np.random.default_rng(1)) != 10


def test_a_step_is_filled_up_with_the_highest_priorities() -> None:
    replay = buffer(samples=6)
    replay.add(1, [group("old", 0), group("older", 0)], [0, 1])
    replay.add(3, [group("new", 2)], [2])
    own = [group("own", 3)]
    assert names(replay.fill(4, own)) == ["new", "older"]  # 2 - 2, then 0 - 2
    assert names(replay.fill(5, own)) == ["new", "old"]  # 2 - 4 and 0 - 2: the newest
    assert replay.fill(6, [group("own", 5, rollouts=6)]) == []


def test_what_is_replayed_is_as_it_was_drawn_and_the_recorded_one_stays() -> None:
    replay = buffer()
    learnt = group("a", 0)
    replay.add(1, [learnt], [0])
    [again] = replay.fill(2, [group("own", 1)])
    sampled, recorded = (one.rollouts[0].trajectory.segments[1].sampled for one in (again, learnt))
    assert sampled.columns == {}
    assert sampled.logprobs == [-1.0]
    assert again.rollouts[0].advantage is None
    assert recorded.columns == {"proximal": [-2.0]}


def test_what_was_left_out_is_not_kept() -> None:
    replay = buffer()
    out = group("out", 0)
    for rollout in out.rollouts:
        rollout.left_out = "reward_filter"
    replay.add(1, [out], [0])
    assert replay.kept == []


def test_the_lowest_priority_makes_room() -> None:
    replay = buffer(capacity=4)
    for step in range(1, 5):
        replay.add(step, [group(f"step{step}", step - 1)], [0])
    assert [item.group.id for item in replay.kept] == ["step3", "step4"]


def test_nothing_comes_before_it_has_rested_or_when_it_is_too_old() -> None:
    tired = buffer(cooldown_s=3600.0)
    tired.add(1, [group("a", 0)], [0])
    assert tired.fill(2, []) == []
    tired.kept[0].used_at -= 3600.0
    assert names(tired.fill(2, [])) == ["a"]

    young = buffer(max_lag=2)
    young.add(1, [group("a", 0)], [0])
    assert young.fill(4, []) == []
    assert names(young.fill(3, [])) == ["a"]


def test_a_group_that_several_weights_have_drawn_is_as_old_as_the_oldest() -> None:
    replay, mixed = buffer(), group("a", 3)
    mixed.rollouts[1].trajectory.segments[1].sampled.version = 2
    replay.add(4, [mixed], [7])
    assert [(item.version, item.sample, item.uses) for item in replay.kept] == [(2, 7, 1)]
    assert isinstance(replay.kept[0], Replayed)


@pytest.mark.parametrize(
    ("name", "args", "sentence"),
    [
        ("linear", {}, "priority_fn 'linear' is not known; did you mean linear_decay"),
        ("linear_decay", {"sigma": 1}, "'sigma' is not known; known are: decay"),
    ],
)
def test_an_unknown_priority_or_argument_is_refused(name: str, args: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_priority(name, args)
