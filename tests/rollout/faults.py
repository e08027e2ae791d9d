"""What workflows and judges do wrong: a corpus of faults, each with what has to become of it.

`workflow` and `judge` commit the fault that their task names and are good otherwise. Every rollout
says a word of its own to its model, which a truthful sampler repeats, so `assert_all_accounted_for`
sees whether one was lost, doubled or mixed with another.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import openai

from agentscope_tuner.trajectory import ErrorKind, Rollout, RolloutGroup
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput

GOOD = "none"
Commit = Callable[[Any, str], Awaitable[Any]]


@dataclass(frozen=True)
class Fault:
    """One fault: what it does with the model and its answer, and what the rollout is then."""

    commit: Commit
    kind: ErrorKind | None
    """The failure that it is; None: the rollout is as good as any other."""


WORKFLOW_FAULTS: dict[str, Fault] = {}
JUDGE_FAULTS: dict[str, Fault] = {}


def workflow_fault(kind: ErrorKind | None) -> Callable[[Commit], Commit]:
    return _entering(WORKFLOW_FAULTS, kind)


def judge_fault(kind: ErrorKind | None) -> Callable[[Commit], Commit]:
    return _entering(JUDGE_FAULTS, kind)


def _entering(faults: dict[str, Fault], kind: ErrorKind | None) -> Callable[[Commit], Commit]:
    def enter(commit: Commit) -> Commit:
        faults[commit.__name__] = Fault(commit, kind)
        return commit

    return enter


def faulty_tasks(good: int = 0) -> list[dict[str, Any]]:
    """One task a fault, and good ones between them."""
    names = [
        *(("workflow", name) for name in WORKFLOW_FAULTS),
        *(("judge", name) for name in JUDGE_FAULTS),
        *[("workflow", GOOD)] * good,
    ]
    return [
        {"n": n, "question": f"{n} + 1 =", "where": where, "fault": name}
        for n, (where, name) in enumerate(names)
    ]


def expected_kind(task: dict[str, Any]) -> ErrorKind | None:
    """The failure that a task's rollouts come to; None if they are good."""
    faults = WORKFLOW_FAULTS if task["where"] == "workflow" else JUDGE_FAULTS
    return None if task["fault"] == GOOD else faults[task["fault"]].kind


_numbers = itertools.count()


async def workflow(task: dict[str, Any], model: Any) -> Any:
    fault = WORKFLOW_FAULTS.get(task["fault"]) if task["where"] == "workflow" else None
    if task["fault"] == "never_calls_the_model":
        return good("")
    word = f"{task['n']}x{next(_numbers)}"
    answer = await ask(model, word)
    return good(answer) if fault is None else await fault.commit(model, answer)


async def judge(task: dict[str, Any], response: Any) -> Any:
    fault = JUDGE_FAULTS.get(task["fault"]) if task["where"] == "judge" else None
    return JudgeOutput(reward=1.0) if fault is None else await fault.commit(None, str(response))


async def ask(model: Any, word: str) -> str:
    answer = await model([{"role": "user", "content": word}])
    return "".join(block["text"] for block in answer.content if block["type"] == "text")


def good(answer: str, **fields: Any) -> WorkflowOutput:
    return WorkflowOutput(**{"response": answer, "reward": 1.0, **fields})


def assert_all_accounted_for(
    groups: Sequence[RolloutGroup], tasks: Sequence[dict[str, Any]], size: int, sampled: Any = None
) -> None:
    """No rollout is lost, doubled or mixed with another, and each is what its fault makes of it.

    Args:
        groups: what came back for the tasks.
        size: rollouts a task.
        sampled: the text of token ids, if the sampler repeats what it is asked.
    """
    assert [group.task for group in groups] == list(tasks)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    assert len(rollouts) == len({rollout.id for rollout in rollouts}) == size * len(tasks)
    words: list[str] = []
    for rollout in rollouts:
        kind = rollout.error and rollout.error.kind
        assert kind == expected_kind(rollout.task), (rollout.task, rollout.error)
        assert (rollout.reward is None) == (kind is not None)
        words += said(rollout)
        if sampled is not None:
            segments = rollout.trajectory.segments
            answers = [sampled(segments[c.segment].token_ids) for c in rollout.trajectory.calls]
            assert answers == said(rollout)
    assert len(words) == len(set(words)), "a call is in two rollouts"


def said(rollout: Rollout) -> list[str]:
    """The words that a rollout said to its model, which begin with its task's number."""
    words = [str(call.messages[-1]["content"]) for call in rollout.trajectory.calls]
    assert all(word.split("x")[0] == str(rollout.task["n"]) for word in words), words
    return words


class OwnBaseException(BaseException):
    pass


class WithoutText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class ExitingText(Exception):
    def __str__(self) -> str:
        sys.exit(5)

    __repr__ = __str__


class HostileType(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise OwnBaseException


class Untouchable(Exception, metaclass=HostileType):
    """Raises on every touch."""

    def __getattribute__(self, name: str) -> Any:
        raise OwnBaseException(name)


class HostileText(str):
    def __str__(self) -> str:
        return self

    def encode(self, *args: Any) -> bytes:
        raise OwnBaseException

    def __format__(self, spec: str) -> str:
        raise OwnBaseException


class HostileNumber:
    def __float__(self) -> float:
        raise KeyError("no number")

    def __repr__(self) -> str:
        raise OwnBaseException


@dataclass
class HostileOutput:
    response: str = "x"
    metrics: dict = field(default_factory=dict)

    @property
    def reward(self) -> float:
        raise OwnBaseException("reward")


def _raising(name: str, make: Callable[[], BaseException]) -> None:
    """Enter an exception for both functions."""

    async def commit(model: Any, answer: str) -> Any:
        raise make()

    WORKFLOW_FAULTS[f"raises_{name}"] = Fault(commit, "workflow")
    JUDGE_FAULTS[f"raises_{name}"] = Fault(commit, "judge")


def _circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


_raising("an_exception", lambda: ValueError("bad luck"))
_raising("an_exception_without_text", WithoutText)
_raising("an_exception_whose_text_exits", ExitingText)
_raising("an_exception_that_raises_on_every_touch", Untouchable)
_raising("a_lone_surrogate", lambda: ValueError("\ud800"))
_raising("ten_million_characters", lambda: ValueError("x" * 10_000_000))
_raising("a_hostile_text", lambda: ValueError(HostileText("x")))
_raising("causes_in_a_circle", _circle)
_raising("a_base_exception", OwnBaseException)
_raising("generator_exit", GeneratorExit)
_raising("keyboard_interrupt", KeyboardInterrupt)
_raising("system_exit", lambda: SystemExit(3))
_raising("a_group", lambda: BaseExceptionGroup("g", [SystemExit(1), OwnBaseException()]))
_raising("stop_iteration", StopIteration)
_raising("stop_async_iteration", StopAsyncIteration)
_raising("memory_error", MemoryError)
_raising("cancelled_error", asyncio.CancelledError)
for name in ("raises_cancelled_error",):  # the task just ends: nobody can say in which of the two
    JUDGE_FAULTS[name] = Fault(JUDGE_FAULTS[name].commit, "workflow")


async def leave(error: BaseException) -> None:
    raise error


@workflow_fault("workflow")
async def exits_in_a_task_it_awaits(model: Any, answer: str) -> Any:
    await asyncio.ensure_future(leave(SystemExit(0)))


@workflow_fault(None)
@judge_fault(None)
async def exits_in_a_task_it_leaves(model: Any, answer: str) -> Any:
    task = asyncio.ensure_future(leave(SystemExit(0)))
    await asyncio.wait({task})
    return good(answer)


@workflow_fault(None)
async def interrupts_in_a_task_it_leaves(model: Any, answer: str) -> Any:
    task = asyncio.ensure_future(leave(KeyboardInterrupt()))
    await asyncio.wait({task})
    return good(answer)


@workflow_fault(None)
async def exits_in_a_callback(model: Any, answer: str) -> Any:
    asyncio.get_running_loop().call_soon(sys.exit, 0)
    await asyncio.sleep(0.01)
    return good(answer)


@workflow_fault(None)
async def exits_in_a_done_callback(model: Any, answer: str) -> Any:
    task = asyncio.ensure_future(asyncio.sleep(0))
    task.add_done_callback(lambda _: sys.exit(0))
    await asyncio.sleep(0.01)
    return good(answer)


@workflow_fault(None)
async def raises_in_a_callback(model: Any, answer: str) -> Any:
    asyncio.get_running_loop().call_soon(WORKFLOW_FAULTS.__getitem__, "missing")
    await asyncio.sleep(0.01)
    return good(answer)


@workflow_fault(None)
async def forgets_a_task_that_failed(model: Any, answer: str) -> Any:
    await asyncio.wait({asyncio.ensure_future(leave(WithoutText()))})
    return good(answer)


@workflow_fault("workflow")
async def fails_in_a_task_group(model: Any, answer: str) -> Any:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leave(ValueError("one")))
        tasks.create_task(asyncio.sleep(60))


@workflow_fault("workflow")
async def recurses_for_ever(model: Any, answer: str) -> Any:
    def deeper(level: int) -> int:
        return deeper(level + 1) + 1

    deeper(0)


@workflow_fault("workflow")
async def cancels_itself(model: Any, answer: str) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@workflow_fault("timeout")
@judge_fault("timeout")
async def hangs(model: Any, answer: str) -> Any:
    await asyncio.Event().wait()


@workflow_fault("timeout")
async def swallows_its_cancellation_for_ever(model: Any, answer: str) -> Any:
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            continue


@workflow_fault("timeout")
@judge_fault("timeout")
async def blocks_a_thread_for_ever(model: Any, answer: str) -> Any:
    await asyncio.to_thread(threading.Event().wait)


@workflow_fault("workflow")
async def exits_in_a_thread(model: Any, answer: str) -> Any:
    await asyncio.to_thread(sys.exit, 0)


@workflow_fault("workflow")
async def raises_stop_iteration_in_a_thread(model: Any, answer: str) -> Any:
    await asyncio.to_thread(next, iter(()))


@workflow_fault(None)
async def holds_the_loop_for_a_while(model: Any, answer: str) -> Any:
    time.sleep(0.05)  # noqa: ASYNC251
    return good(answer)


@workflow_fault(None)
async def stops_the_loop(model: Any, answer: str) -> Any:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return good(answer)


@workflow_fault("workflow")
async def closes_the_loop(model: Any, answer: str) -> Any:
    asyncio.get_running_loop().close()


@workflow_fault("workflow")
async def runs_a_loop_in_the_loop(model: Any, answer: str) -> Any:
    waiting = asyncio.sleep(0)
    try:
        asyncio.run(waiting)
    finally:
        waiting.close()


@workflow_fault(None)
async def changes_the_working_directory(model: Any, answer: str) -> Any:
    os.chdir(tempfile.gettempdir())
    return good(answer)


@workflow_fault(None)
async def leaves_a_stream_that_never_ends(model: Any, answer: str) -> Any:
    async def endless() -> Any:
        while True:
            try:
                yield 1
            except BaseException:
                await asyncio.sleep(0)

    await anext(endless())
    return good(answer)


@workflow_fault(None)
async def asks_again_when_it_is_over(model: Any, answer: str) -> Any:
    async def later() -> None:
        await asyncio.sleep(0.1)
        await ask(model, "0xlate")

    asyncio.ensure_future(later()).add_done_callback(lambda task: task.exception())
    return good(answer)


@workflow_fault("workflow")
async def asks_something_malformed(model: Any, answer: str) -> Any:
    await model([{"role": "user", "content": "x"}], temperature=-1)


@workflow_fault("model")
async def finds_no_server(model: Any, answer: str) -> Any:
    raise openai.APIConnectionError(message="nobody there", request=MagicMock())


@workflow_fault(None)
async def says_surrogates(model: Any, answer: str) -> Any:
    return good("\udfff" + answer, metrics={"\ud800": 1.0})


@workflow_fault("workflow")
async def returns_a_response_without_text(model: Any, answer: str) -> Any:
    return good(answer, response=WithoutText())


@workflow_fault(None)
async def returns_a_hostile_text(model: Any, answer: str) -> Any:
    return good(answer, response=HostileText(answer))


@workflow_fault("output")
@judge_fault("output")
async def returns_nothing(model: Any, answer: str) -> Any:
    return None


@workflow_fault("output")
@judge_fault("output")
async def returns_text(model: Any, answer: str) -> Any:
    return answer


@workflow_fault("output")
@judge_fault("output")
async def returns_a_mock(model: Any, answer: str) -> Any:
    return MagicMock()


@judge_fault("judge")
async def returns_an_output_that_raises(model: Any, answer: str) -> Any:
    return HostileOutput()


@judge_fault("output")
async def rewards_with_nan(model: Any, answer: str) -> Any:
    return JudgeOutput(reward=float("nan"))


@judge_fault("output")
async def rewards_with_too_much(model: Any, answer: str) -> Any:
    return JudgeOutput(reward=1e308)


@judge_fault("judge")
async def rewards_with_text(model: Any, answer: str) -> Any:
    return JudgeOutput(reward="excellent")  # type: ignore[arg-type]


@judge_fault("output")
async def rewards_with_a_number_that_raises(model: Any, answer: str) -> Any:
    return SimpleNamespace(reward=HostileNumber(), metrics=None)


@judge_fault(None)
async def explains_with_a_surrogate(model: Any, answer: str) -> Any:
    return JudgeOutput(reward=1.0, explanation="\ud800")


@workflow_fault(None)
async def measures_no_numbers(model: Any, answer: str) -> Any:
    odd = {"nan": float("nan"), "text": "high", "nested": {"a": 1}, "hostile": HostileNumber()}
    return good(answer, metrics={**odd, "": 1, ("a", 1): 2, "x" * 10_000: 3, "good": 1})


@judge_fault(None)
async def judges_no_numbers(model: Any, answer: str) -> Any:
    return JudgeOutput(reward=1.0, metrics={"inf": float("inf"), "none": None, "\ud800": 1})


@workflow_fault("output")
async def measures_in_a_list(model: Any, answer: str) -> Any:
    return good(answer, metrics=[1.0])


@workflow_fault("empty")
async def never_calls_the_model(model: Any, answer: str) -> Any:
    raise AssertionError("`workflow` sees to it")


@workflow_fault(None)
async def closes_the_client_of_its_model(model: Any, answer: str) -> Any:
    await model.client.close()
    return good(answer)
