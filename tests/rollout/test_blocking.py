"""A function that keeps the event loop waiting is named, once."""

from __future__ import annotations

import asyncio
import time

import pytest

from agentscope_tuner.blocking import PATIENCE_S
from agentscope_tuner.event_loop import run_to_completion


def blocks() -> None:
    time.sleep(PATIENCE_S * 2)


def test_a_function_that_blocks_the_event_loop_is_named_once_with_its_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def workflow() -> None:
        blocks()
        await asyncio.sleep(0.01)
        blocks()

    run_to_completion(workflow())
    (told,) = [one for one in caplog.records if one.name == "agentscope_tuner.blocking"]
    line = blocks.__code__.co_firstlineno + 1
    assert told.getMessage().startswith("blocks blocks the event loop for over 1 s")
    assert f"({__file__}, line {line})" in told.getMessage()


def test_what_waits_in_a_thread_or_on_the_loop_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def workflow() -> None:
        await asyncio.to_thread(blocks)
        await asyncio.sleep(PATIENCE_S * 2)

    run_to_completion(workflow())
    assert not [one for one in caplog.records if one.name == "agentscope_tuner.blocking"]
