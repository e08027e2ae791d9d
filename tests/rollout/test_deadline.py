"""A deadline ends a rollout, whatever the workflow makes of its cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from typing import Any

import pytest
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg

from agentscope_tuner.rollout.deadline import DeadlineExceeded, SelfCancelled, run_until
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.workflow import WorkflowOutput


async def run_one(service: Any, workflow: Any, **options: Any) -> Any:
    runner = RolloutRunner(service, workflow, **options)
    (group,) = await runner.run_groups([{}], 1, label="step1", seed=0)
    return group.rollouts[0]


async def test_an_agent_that_swallows_its_cancellation_is_ended_nevertheless(service, monkeypatch):
    monkeypatch.setenv("AGENTSCOPE_DISABLE_CONSOLE_OUTPUT", "true")
    went_on = []

    async def hang(rollout_id: str) -> str:
        await asyncio.sleep(60)
        return "too late"

    service.reply = hang

    async def workflow(task, model):
        agent = ReActAgent(
            name="agent",
            sys_prompt="",
            model=model,
            formatter=OpenAIChatFormatter(),
            memory=InMemoryMemory(),
        )
        response = await agent(Msg("user", "hi", "user"))  # turns CancelledError into a reply
        went_on.append(response.get_text_content())
        return WorkflowOutput(reward=1.0, response=response)

    began = time.perf_counter()
    rollout = await run_one(service, workflow, timeout_s=0.2)
    assert time.perf_counter() - began < 2
    assert went_on, "the agent did swallow the cancellation"
    assert rollout.error.kind == "timeout"
    assert "0.2 s" in rollout.error.message
    assert rollout.reward is None
    assert rollout.trajectory.calls == []


async def test_a_workflow_left_behind_can_call_its_model_no_more(service):
    late = []

    async def stubborn(task, model):
        while not late:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                try:
                    await model("one more")
                except Exception as error:
                    late.append(str(error))
        return WorkflowOutput(reward=1.0)

    rollout = await run_one(service, stubborn, timeout_s=0.1)
    assert late == ["the session is closed"]
    assert rollout.error.kind == "timeout"


async def test_the_run_goes_on_beside_a_workflow_that_ignores_every_cancellation(service):
    ends = asyncio.Event()

    async def immortal(task, model):
        await model("hi")
        while not ends.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(ends.wait(), 60)
        raise RuntimeError("nobody hears this")

    began = time.perf_counter()
    rollout = await run_one(service, immortal, timeout_s=0.1)
    assert time.perf_counter() - began < 3
    assert rollout.error.kind == "timeout"
    ends.set()
    await asyncio.sleep(0.05)


async def test_a_retry_does_not_share_its_trajectory_with_the_attempt_left_behind(service):
    first = asyncio.Event()

    async def workflow(task, model):
        if not first.is_set():
            first.set()
            try:
                await asyncio.sleep(60)
            finally:
                await model("late")
        await model("hi")
        return WorkflowOutput(reward=1.0)

    rollout = await run_one(service, workflow, timeout_s=0.2, max_retries=1)
    assert rollout.attempts == 2
    assert rollout.reward == 1.0
    assert len(rollout.trajectory.calls) == 1
    assert service.sessions[0].trajectory.calls == []


async def test_work_in_time_is_returned_and_its_own_errors_pass_through():
    async def quick() -> int:
        return 7

    async def wrong() -> int:
        raise KeyError("k")

    closed = []
    assert await run_until(quick(), timeout_s=1, close=lambda: closed.append(1)) == 7
    with pytest.raises(KeyError):
        await run_until(wrong(), timeout_s=None, close=lambda: closed.append(1))
    assert closed == []


async def test_the_deadline_closes_first_and_cancels_then():
    order = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            order.append("cancelled")
            raise

    with pytest.raises(DeadlineExceeded):
        await run_until(slow(), timeout_s=0.01, close=lambda: order.append("closed"))
    assert order == ["closed", "cancelled"]


async def test_work_that_cancels_itself_does_not_look_like_a_cancelled_run():
    async def odd() -> None:
        raise asyncio.CancelledError

    with pytest.raises(SelfCancelled):
        await run_until(odd(), timeout_s=1, close=lambda: None)


async def test_cancelling_the_caller_ends_the_work(service):
    closed = []
    ended = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(run_until(slow(), timeout_s=None, close=lambda: closed.append(True)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert closed == [True]


async def test_what_is_raised_too_late_is_heard_of_at_debug_level_only(caplog):
    async def late() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("too late") from None

    with caplog.at_level(logging.DEBUG), pytest.raises(DeadlineExceeded):
        await run_until(late(), timeout_s=0.01, close=lambda: None)
    await asyncio.sleep(0)
    assert [r.levelno for r in caplog.records if "too late" in r.getMessage()] == [logging.DEBUG]


async def test_no_complaint_about_work_that_fails_as_its_caller_is_cancelled(caplog):
    async def fails_unheard() -> None:
        raise KeyError("k")

    caller = asyncio.create_task(run_until(fails_unheard(), timeout_s=None, close=lambda: None))
    await asyncio.sleep(0)  # the caller begins to wait
    await asyncio.sleep(0)  # the work fails
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    del caller
    gc.collect()  # which also finds what other tests left behind
    complaints = [record.getMessage() for record in caplog.records]
    assert not [text for text in complaints if fails_unheard.__name__ in text]
