"""Judges made of AgentScope's metrics.

A metric of `agentscope.evaluate` is an object that is awaited with a solution and answers with a
result. It is known by that alone, so that any class of this form serves, whichever AgentScope is
installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.workflow import JudgeOutput, JudgeType, finite_number

Metric = Callable[..., Awaitable[Any]]
"""Called with a solution, or with those of `task`, `response` and `solution` that it names."""
Weight = float | Mapping[str, float]


@dataclass(slots=True)
class Solution:
    """What metrics look at; the fields of AgentScope's `SolutionOutput`."""

    success: bool
    output: Any
    trajectory: list[Any]
    """Text, tool_use and tool_result blocks."""
    meta: dict[str, Any] | None = field(default=None)


def judge_from_metrics(
    metrics: Mapping[str, tuple[Metric | Callable[[dict[str, Any]], Metric], Weight]],
) -> JudgeType:
    """A judge whose reward is the weighted sum of metrics; each is logged under its name.

    Args:
        metrics: By name: a metric, or a function that makes one for a task (`lambda task:
            Accuracy(task["answer"])`), and its weight. The weight of a metric whose result is a
            category is a dictionary that says what each category is worth.

    The metrics see the workflow's response: a message as its text and its blocks, a
    `SolutionOutput` as it is, anything else as the output.

    Raises InputError: there is no metric, or a weight does not fit. A result without a value makes
    the judge raise ValueError, which fails that rollout.
    """
    if not metrics:
        raise InputError("judge_from_metrics needs at least one metric.")
    for name, (metric, weight) in metrics.items():
        _check(name, metric, weight)

    async def judge(task: dict[str, Any], response: Any) -> JudgeOutput:
        solution = _solution(response)
        reward, values, notes = 0.0, {}, []
        for name, (given, weight) in metrics.items():
            metric: Any = given if _is_metric(given) else given(task)
            result = await _call(metric, task, response, solution)
            values[name] = value = _value(name, result, weight)
            reward += value if isinstance(weight, Mapping) else value * weight
            if message := getattr(result, "message", None):
                notes.append(f"{name}: {message}")
        return JudgeOutput(reward=reward, metrics=values, explanation="; ".join(notes) or None)

    return judge


def _check(name: str, metric: Any, weight: Weight) -> None:
    if not callable(metric):
        raise InputError(f"The metric {name!r} is {metric!r}, which cannot be called.")
    try:
        for value in weight.values() if isinstance(weight, Mapping) else (weight,):
            finite_number(value)
    except (TypeError, ValueError):
        raise InputError(
            f"The weight of the metric {name!r} must be a finite number, not {weight!r}."
        ) from None
    categories: Any = getattr(metric, "categories", None)
    if not isinstance(weight, Mapping):
        if not categories:
            return
        raise InputError(
            f"The metric {name!r} answers with a category: its weight is a dictionary that says "
            f"what each of {', '.join(map(str, categories))} is worth."
        )
    missing = [one for one in categories or () if one not in weight]
    if missing:
        raise InputError(f"The weight of the metric {name!r} says nothing of {missing[0]!r}.")


def _is_metric(given: Any) -> bool:
    """Whether it is awaited itself, rather than makes a metric for a task."""
    called = given if inspect.isfunction(given) else getattr(given, "__call__", None)  # noqa: B004
    return not inspect.isclass(given) and inspect.iscoroutinefunction(called)


async def _call(metric: Metric, task: Any, response: Any, solution: Any) -> Any:
    known = {"task": task, "response": response, "solution": solution}
    named = [name for name in inspect.signature(metric).parameters if name in known]
    if named:
        return await metric(**{name: known[name] for name in named})
    return await metric(solution)


def _value(name: str, result: Any, weight: Weight) -> float:
    value = getattr(result, "result", result)
    if isinstance(weight, Mapping):
        if value not in weight:
            raise ValueError(f"the metric {name!r} says {value!r}, which no weight is given for")
        return float(weight[value])
    try:
        return finite_number(value)
    except (TypeError, ValueError):
        raise ValueError(f"the metric {name!r} must be a finite number, not {value!r}") from None


def _solution(response: Any) -> Any:
    if hasattr(response, "output") and hasattr(response, "trajectory"):
        return response
    if not hasattr(response, "get_text_content"):
        return Solution(True, response, [])
    blocks = response.content if isinstance(response.content, list) else []
    return Solution(True, response.get_text_content(), list(blocks))
