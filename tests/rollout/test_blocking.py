"""A function that keeps the event loop waiting is named, once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
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


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux tells who waits")
def test_nobody_is_named_for_waiting_for_a_processor(caplog: pytest.LogCaptureFixture) -> None:
    def compute() -> None:
        ends = time.thread_time() + PATIENCE_S / 2
        while time.thread_time() < ends:
            pass

    async def workflow() -> float:
        began = time.monotonic()
        compute()
        await asyncio.sleep(0)
        return time.monotonic() - began

    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        time.sleep(0.5)  # until they compute
        assert run_to_completion(workflow()) > PATIENCE_S * 1.5
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, everywhere)
    assert not [one for one in caplog.records if one.name == "agentscope_tuner.blocking"]
