"""Runs of a workflow and its judge on tasks, side by side, with failures as data."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agentscope_tuner.rollout.boundary import RolloutFailure, boundary
from agentscope_tuner.rollout.outputs import check_fields, read_metrics, read_reward, response_text
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory

logger = logging.getLogger(__name__)
Task = dict[str, Any]
Trial = Callable[[int, Task, Rollout], Awaitable[None]]
"""Fills the rollout of one task, by its number. Raises RolloutFailure."""


async def run_trials(
    label: str,
    tasks: Sequence[tuple[int, Task]],
    trial: Trial,
    *,
    max_concurrent: int,
    on_done: Callable[[], None] = lambda: None,
) -> list[RolloutGroup]:
    """One group of one rollout a task, in the tasks' order. Raises a fault of ours."""
    slots = asyncio.Semaphore(max_concurrent)

    async def run(number: int, task: Task) -> RolloutGroup:
        rollout = Rollout(f"{label}-{number}-0", task, Trajectory())
        async with slots:
            rollout.began, clock = time.time(), time.perf_counter()
            try:
                await trial(number, copy.deepcopy(task), rollout)
            except RolloutFailure as failure:
                rollout.reward, rollout.error = None, failure.error
            rollout.seconds = time.perf_counter() - clock
        on_done()
        return RolloutGroup(f"{label}-{number}", task, [rollout])

    return list(await asyncio.gather(*(run(number, task) for number, task in tasks)))


async def call_workflow(func: Callable[..., Any], **arguments: Any) -> tuple[Any, dict[str, float]]:
    """The response and the numbers of a workflow; it gets what it takes."""
    with boundary("workflow"):
        output = await func(**_taken(func, arguments))
        check_fields("workflow", output)
        return output.response, dict(output.metrics or {})


async def call_judge(
    func: Callable[..., Any], task: Task, response: Any, rollout: Rollout
) -> dict[str, float]:
    """Give `rollout` its reward, and return the judge's own numbers under their own names."""
    with boundary("judge"):
        verdict = await func(**_taken(func, {"task": task, "_task": task, "response": response}))
        check_fields("judge", verdict)
        numbers, _ = read_metrics("judge", verdict.metrics)
        rollout.metrics |= numbers
        rollout.reward = read_reward("judge", verdict.reward)
    return {name.removeprefix("judge/"): value for name, value in numbers.items()}


def told(response: Any) -> str:
    """A response as text for people to read."""
    with boundary("workflow"):
        return response_text(response)


def _taken(func: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    optional: dict[str, Any] = {"auxiliary_models": {}, "logger": logger}
    names = inspect.signature(func).parameters
    return {name: value for name, value in (optional | arguments).items() if name in names}
