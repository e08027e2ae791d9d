"""Steps that go on without their slowest tasks, and limits that follow how long rollouts take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentscope_tuner.engine.dynamic_timeout import REMEMBERED, DynamicTimeout
from agentscope_tuner.engine.over_rollout import OverRollout, unfinished
from agentscope_tuner.trajectory import Rollout, RolloutError, RolloutGroup, Trajectory


def group(*seconds: float, failed: int = 0) -> RolloutGroup:
    rollouts = [Rollout("r", {}, Trajectory(), reward=1.0, seconds=s) for s in seconds]
    error = RolloutError("timeout", "late")
    rollouts += [Rollout("r", {}, Trajectory(), seconds=900.0, error=error)] * failed
    return RolloutGroup("g", {}, rollouts)


def test_a_limit_is_a_multiple_of_the_mean_time_and_at_most_that_of_all_attempts() -> None:
    limit = DynamicTimeout(ratio=3.0, warmup_steps=1, longest_s=5400.0)
    assert limit.limit_s is None
    limit.drawn([group(30.0, 50.0, failed=1)])
    assert limit.limit_s == 120.0
    slow = DynamicTimeout(ratio=3.0, warmup_steps=1, longest_s=5400.0)
    slow.drawn([group(2000.0)])
    assert slow.limit_s == 5400.0


def test_there_is_none_before_the_warm_up_is_over_nor_when_everything_failed() -> None:
    limit = DynamicTimeout(ratio=3.0, warmup_steps=2, longest_s=100.0)
    limit.drawn([group(failed=2)])
    assert limit.limit_s is None
    limit.drawn([group(failed=2)])
    assert limit.limit_s is None
    limit.drawn([group(1.0)])
    assert limit.limit_s == 3.0


def test_it_follows_answers_that_grow_and_goes_on_after_a_resume() -> None:
    limit = DynamicTimeout(ratio=2.0, warmup_steps=1, longest_s=1000.0)
    limit.drawn([group(1.0)])
    for _ in range(REMEMBERED):
        limit.drawn([group(10.0)])
    assert limit.limit_s == 20.0
    again = DynamicTimeout(ratio=2.0, warmup_steps=1, longest_s=1000.0)
    again.load_state_dict(limit.state_dict())
    assert again.limit_s == 20.0


def test_so_many_tasks_have_to_be_done() -> None:
    assert OverRollout(0.1, 0, False).enough(32) == 29
    assert OverRollout(0.5, 0, False).enough(3) == 2


class Draws:
    """Groups of two rollouts; the second rollout of a slow task waits for ever."""

    def __init__(self, slow: set[int]) -> None:
        self.slow = slow
        self.ended: set[int] = set()

    async def __call__(self, number: int, heard: Callable[[Rollout], None]) -> RolloutGroup:
        rollouts = [
            Rollout(f"step1-{number}-0-{index}", {}, Trajectory(), reward=1.0) for index in (0, 1)
        ]
        heard(rollouts[0])
        if number in self.slow:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.add(number)
        heard(rollouts[1])
        return RolloutGroup(f"step1-{number}-0", {}, rollouts)


TASKS: list[dict[str, Any]] = [{"n": n} for n in range(4)]


@pytest.mark.parametrize("keeps_partial", [False, True])
async def test_a_step_goes_on_without_the_slowest_task_which_stays_in_the_record(
    keeps_partial: bool,
) -> None:
    draws = Draws(slow={2})
    over = OverRollout(0.25, 0.01, keeps_partial)
    groups = await over.draw(TASKS, "step1", 2, draws)
    assert draws.ended == {2}
    assert [one.id for one in groups] == [f"step1-{n}-0" for n in range(4)]
    done, ended = groups[2].rollouts
    assert (done.id, done.reward) == ("step1-2-0-0", 1.0)
    assert (ended.id, ended.error.kind) == ("step1-2-0-1", "timeout")
    assert [r.left_out for r in groups[2].rollouts] == ["" if keeps_partial else "over_rollout"] * 2
    assert groups[2].task == {"n": 2}
    assert unfinished(groups) == 1


async def test_what_is_done_within_the_grace_is_kept() -> None:
    groups = await OverRollout(0.5, 30.0, False).draw(TASKS, "step1", 2, Draws(slow=set()))
    assert unfinished(groups) == 0
    assert all(not r.left_out for one in groups for r in one.rollouts)


async def test_a_fault_of_ours_is_raised_and_ends_the_others() -> None:
    draws = Draws(slow={1, 2})

    async def failing(number: int, heard: Callable[[Rollout], None]) -> RolloutGroup:
        if number == 3:
            raise AssertionError("the recorder lost a token")
        return await draws(number, heard)

    with pytest.raises(AssertionError, match="lost a token"):
        await OverRollout(0.25, 0.01, False).draw(TASKS, "step1", 2, failing)
    assert draws.ended == {1, 2}
