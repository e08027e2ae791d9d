"""A function that keeps the event loop waiting is named, once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner import blocking
from agentscope_tuner.blocking import PATIENCE_S
from agentscope_tuner.event_loop import run_to_completion

WRITTEN: dict[str, Any] = {}
exec("import time\ndef wait(seconds):\n    time.sleep(seconds)\n", WRITTEN)  # as dataclasses do


def blocks() -> None:
    WRITTEN["wait"](PATIENCE_S * 2)


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


def test_our_own_work_is_blamed_on_nobody(caplog: pytest.LogCaptureFixture) -> None:
    ours = str(Path(blocking.__file__).with_name("some_part.py"))
    names: dict[str, Any] = {}
    exec(compile("import time\nasync def work():\n    time.sleep(2)\n", ours, "exec"), names)
    run_to_completion(names["work"]())  # below a frame of this file, which called it
    assert not [one for one in caplog.records if one.name == "agentscope_tuner.blocking"]


def test_what_waits_in_a_thread_or_on_the_loop_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def workflow() -> None:
        await asyncio.to_thread(blocks)
        await asyncio.sleep(PATIENCE_S * 2)

    run_to_completion(workflow())
    assert not [one for one in caplog.records if one.name == "agentscope_tuner.blocking"]
