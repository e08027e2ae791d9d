"""What a user writes: a workflow function, a judge function, and what they return.

    async def workflow(task, model, auxiliary_models=None, logger=None) -> WorkflowOutput
    async def judge(task, response, auxiliary_models=None, logger=None) -> JudgeOutput

`task` is one sample of the dataset as a plain dictionary; `model` is the chat model that is tuned;
`auxiliary_models` maps names to chat models that are not. Arguments are passed by name, and the
optional ones only to functions that take them. If there is a judge, its reward is the rollout's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, SkipValidation

from agentscope_tuner.errors import InputError


def finite_number(value: Any) -> float:
    """`value` as a float: Python, NumPy and one-element torch numbers, and truth values (1 or 0).

    Raises ValueError for text that looks like a number, NaN and infinity; what `float` raises
    otherwise.
    """
    number = math.nan if isinstance(value, str | bytes) else float(value)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


Metrics = SkipValidation[dict[str, float]]
"""The user's own numbers for the log. What is no finite number is missing there, and named once;
it fails no rollout, so nothing is refused where the output is made."""


class WorkflowOutput(BaseModel):
    """What a workflow function returns."""

    reward: float | None = None
    """The rollout's reward, if no judge gives it."""
    response: Any | None = None
    """What the judge is to see, usually the agent's last message."""
    metrics: Metrics | None = None
    """Logged as means under `workflow/<name>`."""
    step_rewards: SkipValidation[list[float]] | None = None
    """One a model call, in their order: what algorithms that credit single calls (gigpo,
    reinforceplusplus, ppo) learn from in place of `reward`. An extension of AgentScope's form."""
    state_keys: SkipValidation[list[str]] | None = None
    """What the agent saw at each model call, one a call: equal texts are equal states (gigpo)."""


class JudgeOutput(BaseModel):
    """What a judge function returns. Raises ValueError if the reward is no number."""

    reward: float
    metrics: Metrics | None = None
    """Logged as means under `judge/<name>`."""
    step_rewards: SkipValidation[list[float]] | None = None
    """As the workflow's, whose place they take."""
    explanation: str | None = None
    """Why this reward, for those who look at the rollout later."""


WorkflowType = Callable[..., Awaitable[WorkflowOutput]]
JudgeType = Callable[..., Awaitable[JudgeOutput]]

_OPTIONAL = ["auxiliary_models", "logger"]


def check_workflow_function(func: Callable[..., Any]) -> None:
    """Raise InputError unless `func` is async and takes {task, model} and, if it likes,
    {auxiliary_models, logger}."""
    check_function("workflow", func, ["task", "model"])


def check_judge_function(func: Callable[..., Any]) -> None:
    """Raise InputError unless `func` is async and takes {task, response} and, if it likes,
    {auxiliary_models, logger}."""
    check_function("judge", func, ["task", "response"])


def check_function(role: str, func: Callable[..., Any], essential: list[str]) -> None:
    """Raise InputError unless `func` is async and takes these and, if it likes,
    {auxiliary_models, logger}."""
    if not callable(func):
        raise InputError(f"The {role} function must be an async function, not {func!r}.")
    name = f"The {role} function {getattr(func, '__name__', type(func).__name__)!r}"
    parameters = inspect.signature(func).parameters.values()
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise InputError(f"{name}: *args parameter is not allowed: *{parameter.name}.")
        if parameter.kind is parameter.VAR_KEYWORD:
            raise InputError(f"{name}: **kwargs parameter is not allowed: **{parameter.name}.")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise InputError(f"{name}: {parameter.name!r} must not be positional-only.")
    takes = f"it takes {essential}, and {_OPTIONAL} if it likes"
    names = {parameter.name for parameter in parameters}
    if missing := sorted(set(essential) - names):
        raise InputError(f"{name}: Missing essential parameters: {missing} ({takes}).")
    if extra := sorted(names - {*essential, *_OPTIONAL}):
        raise InputError(f"{name}: Contains disallowed parameters: {extra} ({takes}).")
    if not _is_async(func):
        raise InputError(f"{name} is not async: define it with 'async def'.")


def _is_async(func: Callable[..., Any]) -> bool:
    """Whether calling `func` gives a coroutine, seen through decorators that use `functools.wraps`
    and for objects with an async `__call__`."""
    inner = inspect.unwrap(func)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004 (the method itself, not whether it is there)
    )
