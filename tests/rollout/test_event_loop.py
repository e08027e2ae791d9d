"""Whatever is left on a run's event loop, the run goes on and comes to its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from agentscope_tuner.event_loop import run_to_completion, users_context
from agentscope_tuner.executors import DaemonThreadPool


class Own(BaseException):
    """Caught by nobody who catches exceptions."""


async def leave(error: BaseException) -> None:
    raise error


def spawn(error: BaseException) -> Callable[[], Any]:
    return lambda: asyncio.ensure_future(leave(error))


def call_back(error: BaseException) -> Callable[[], Any]:
    def hurl() -> None:
        raise error

    return lambda: asyncio.get_running_loop().call_soon(hurl)


def exiting_handler() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: sys.exit(3))
    loop.call_soon(sys.exit, 3)
    loop.call_soon(dict.__getitem__, {}, "missing")


def done_callback() -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    task.add_done_callback(lambda _: sys.exit(3))


@pytest.mark.parametrize("inside", [False, True], ids=["script", "notebook"])
@pytest.mark.parametrize(
    "mischief",
    [
        spawn(SystemExit(3)),
        spawn(KeyboardInterrupt()),
        spawn(Own()),
        spawn(GeneratorExit()),
        spawn(BaseExceptionGroup("several", [SystemExit(1), Own()])),
        call_back(SystemExit(3)),
        call_back(KeyboardInterrupt()),
        call_back(Own()),
        done_callback,
        exiting_handler,
        lambda: asyncio.get_running_loop().stop(),
    ],
)
def test_nothing_that_is_left_on_the_loop_ends_the_work(mischief, inside):
    async def work() -> str:
        mischief()
        for _ in range(5):
            await asyncio.sleep(0.001)
        return "done"

    async def notebook() -> str:
        return run_to_completion(work())

    assert (asyncio.run(notebook()) if inside else run_to_completion(work())) == "done"


def test_what_the_work_itself_raises_is_raised_without_a_false_context():
    async def work() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError) as raised:
        run_to_completion(work())
    assert raised.value.__context__ is None
    with pytest.raises(SystemExit):
        run_to_completion(leave(SystemExit(3)))


def test_a_workflow_that_cancels_every_task_cancels_its_own_only():
    ended = []

    async def neighbour() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("neighbour")
            raise

    async def workflow() -> None:
        task = asyncio.ensure_future(neighbour())
        await asyncio.sleep(0)
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
        await asyncio.wait({task})

    async def work() -> str:
        own = asyncio.create_task(asyncio.sleep(0.01, "ours"))
        await asyncio.create_task(workflow(), context=users_context())
        return await own

    assert run_to_completion(work()) == "ours"
    assert ended == ["neighbour"]


def test_stray_exceptions_are_told_once_a_kind(caplog):
    async def work() -> None:
        for _ in range(5):
            asyncio.get_running_loop().call_soon(sys.exit)
            await asyncio.sleep(0)

    run_to_completion(work())
    told = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert len(told) == 1
    assert "would have ended the run" in told[0].getMessage()


IMMORTAL = """
import asyncio, sys, threading
from agentscope_tuner.event_loop import run_to_completion

async def immortal():
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass

async def endless():
    while True:
        try:
            yield
        except BaseException:
            await immortal()

async def stuck():
    await asyncio.to_thread(threading.Event().wait)

async def work():
    tasks = [asyncio.ensure_future(do()) for do in [immortal] + [stuck] * 64]
    stream = endless()
    await anext(stream)
    await asyncio.sleep(0)
    return await asyncio.to_thread(lambda: "done")

print(run_to_completion(work()), flush=True)
"""


def test_what_swallows_every_cancellation_and_threads_that_hang_do_not_keep_the_process():
    ended = subprocess.run(
        [sys.executable, "-c", IMMORTAL], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0
    assert ended.stdout == "done\n"
    assert "left behind" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_pool_runs_more_calls_than_threads_and_takes_none_after_its_end():
    pool = DaemonThreadPool(2, "few")
    names = [pool.submit(lambda: threading.current_thread().name) for _ in range(20)]
    assert {future.result() for future in names} == {"few"}
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)


def test_stuck_calls_of_one_pool_leave_the_others_alone():
    never = threading.Event()
    stuck, free = DaemonThreadPool(2, "stuck"), DaemonThreadPool(1, "free")
    waiting = [stuck.submit(never.wait) for _ in range(5)]
    assert free.submit(lambda: 7).result(timeout=10) == 7
    stuck.shutdown(cancel_futures=True)
    assert [future.cancelled() for future in waiting[2:]] == [True] * 3
    never.set()


async def test_a_stop_iteration_in_a_thread_reaches_whoever_awaits_it():
    with pytest.raises(RuntimeError, match="StopIteration"):
        await DaemonThreadPool(1, "t").run(next, iter([]))


async def test_a_signal_that_comes_to_another_thread_is_handled_while_a_run_goes_on() -> None:
    handled = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: handled.set())

    async def work() -> bool:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return await asyncio.to_thread(handled.wait, 10)

    try:
        assert run_to_completion(work())
    finally:
        signal.signal(signal.SIGUSR1, before)
