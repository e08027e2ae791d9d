"""Which weights draw a step's rollouts: arithmetic, held against Trinity's two loops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscope_tuner.engine.schedule import Schedule

fixed = st.builds(Schedule, interval=st.integers(1, 5), offset=st.integers(0, 4))


def versions_of_trinity(interval: int, offset: int, steps: int) -> list[int]:
    """What Trinity-RFT 0.6's explorer draws with under `fixed`: it takes new weights after its step
    e if e > offset and (e - offset) is a multiple of the interval (`Explorer.need_sync`), and the
    trainer gives those of its own multiples, one after another (`Trainer.need_sync`)."""
    version, drawn = 0, []
    for step in range(1, steps + 1):
        drawn.append(version)
        if step > offset and (step - offset) % interval == 0:
            version += interval
    return drawn


@given(schedule=fixed)
def test_a_fixed_schedule_is_trinitys(schedule: Schedule) -> None:
    ours = [schedule.version(step) for step in range(1, 30)]
    assert ours == versions_of_trinity(schedule.interval, schedule.offset, 29)


@given(schedule=fixed, step=st.integers(1, 40))
def test_no_token_is_older_than_offset_and_interval_allow(schedule: Schedule, step: int) -> None:
    assert 0 <= step - 1 - schedule.version(step) <= schedule.max_lag
    assert schedule.max_lag == schedule.offset + schedule.interval - 1


@given(schedule=fixed, version=st.integers(0, 40))
def test_what_may_be_drawn_and_what_must_be_drawn_before_follow_from_it(
    schedule: Schedule, version: int
) -> None:
    last = schedule.last_step(version)
    assert schedule.version(last) <= version < schedule.version(last + 1)
    before = schedule.last_step_before(version)
    if version:
        assert schedule.version(before) < version <= schedule.version(before + 1)


@given(schedule=fixed, step=st.integers(1, 40))
def test_the_sampler_rests_if_all_later_rollouts_are_of_the_weights_after_this_step(
    schedule: Schedule, step: int
) -> None:
    others = {schedule.version(later) for later in range(step + 1, step + 20)}
    assert schedule.rests(step) == (min(others) >= step)


@pytest.mark.parametrize("style", ["trainer_driven", "explorer_driven", "fully_async"])
def test_without_a_lag_every_style_is_the_fixed_one(style) -> None:
    schedule = Schedule(style=style)
    assert not schedule.by_the_clock
    assert [schedule.version(step) for step in range(1, 6)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("style", ["trainer_driven", "explorer_driven", "fully_async"])
def test_without_a_lag_every_style_hands_over_after_every_step(style) -> None:
    # dynamic_by_explorer with sync_interval 1, as most of Trinity's files have it.
    assert all(Schedule(style=style).hands_over(step) for step in range(1, 9))


def test_the_bound_says_how_far_ahead_the_other_styles_are() -> None:
    schedule = Schedule(interval=2, style="fully_async", bound=3)
    assert schedule.by_the_clock
    assert schedule.last_step(5) == 9
    assert schedule.version(9) == 5
