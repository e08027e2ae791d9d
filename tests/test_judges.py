"""Judges made of metrics: AgentScope's own, and others of the same form."""

from __future__ import annotations

from typing import Any

import pytest
from agentscope.evaluate import (
    ACEProcessAccuracy,
    MetricBase,
    MetricResult,
    MetricType,
    SolutionOutput,
)
from agentscope.message import Msg

from agentscope_tuner import judge_from_metrics
from agentscope_tuner.errors import InputError
from agentscope_tuner.workflow import check_judge_function


class Exact(MetricBase):
    def __init__(self, answer: str) -> None:
        super().__init__("exact", MetricType.NUMERICAL)
        self.answer = answer

    async def __call__(self, solution: SolutionOutput) -> MetricResult:
        right = self.answer in solution.output
        return MetricResult("exact", int(right), message="right" if right else "wrong")


class Tone(MetricBase):
    def __init__(self) -> None:
        super().__init__("tone", MetricType.CATEGORY, categories=["polite", "rude"])

    async def __call__(self, solution: SolutionOutput) -> MetricResult:
        return MetricResult("tone", "polite" if "please" in solution.output else "rude")


async def length(response: Msg) -> float:
    return len(response.get_text_content() or "")


def said(text: str) -> Msg:
    return Msg("agent", text, "assistant")


async def test_a_reward_is_the_weighted_sum_of_metrics() -> None:
    judge = judge_from_metrics(
        {
            "exact": (lambda task: Exact(task["answer"]), 2.0),
            "tone": (Tone(), {"polite": 0.5, "rude": -1}),
            "length": (length, -0.01),
        }
    )
    check_judge_function(judge)
    output = await judge(task={"answer": "8"}, response=said("8 please"))
    assert output.metrics == {"exact": 1.0, "tone": 0.5, "length": 8.0}
    assert output.reward == pytest.approx(2.0 + 0.5 - 0.08)
    assert output.explanation == "exact: right"
    worse = await judge(task={"answer": "9"}, response=said("8"))
    assert worse.reward == pytest.approx(-1 - 0.01)


async def test_a_metric_of_agentscopes_benchmark_sees_the_trajectory() -> None:
    judge = judge_from_metrics(
        {"process": (lambda task: ACEProcessAccuracy(task["milestones"]), 1.0)}
    )
    task = {"milestones": ["[add(a=1, b='x')]"]}
    call: Any = {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1, "b": "x"}}
    solution = SolutionOutput(success=True, output="done", trajectory=[call])
    assert (await judge(task=task, response=solution)).reward == 1.0
    assert (await judge(task=task, response=Msg("agent", [call], "assistant"))).reward == 1.0
    assert (await judge(task=task, response=said("done"))).reward == 0.0


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({}, "at least one metric"),
        ({"tone": (Tone(), 1.0)}, "what each of polite, rude is worth"),
        ({"tone": (Tone(), {"polite": 1})}, "says nothing of 'rude'"),
        ({"exact": (Exact("8"), float("nan"))}, "weight of the metric 'exact' must be a finite"),
        ({"exact": ("exact", 1.0)}, "cannot be called"),
    ],
)
def test_what_does_not_fit_is_named_at_once(metrics: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge_from_metrics(metrics)


async def test_a_result_without_a_value_fails_the_rollout() -> None:
    async def odd(task: dict) -> str:
        return "many"

    with pytest.raises(ValueError, match="metric 'odd' must be a finite number, not 'many'"):
        await judge_from_metrics({"odd": (odd, 1.0)})(task={}, response="")
    with pytest.raises(ValueError, match="'odd' says 'many', which no weight is given for"):
        await judge_from_metrics({"odd": (odd, {"few": 1})})(task={}, response="")
