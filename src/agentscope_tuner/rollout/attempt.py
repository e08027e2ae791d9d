"""One attempt at a rollout: the workflow and then the judge, called behind the boundary."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentscope_tuner.chat.session import Session
from agentscope_tuner.chat_model import ChatModelBase
from agentscope_tuner.rollout.boundary import Role, RolloutFailure, boundary
from agentscope_tuner.rollout.outputs import (
    check_fields,
    read_explanation,
    read_metrics,
    read_reward,
    read_steps,
    response_text,
)
from agentscope_tuner.rollout.response import kept_response
from agentscope_tuner.workflow import JudgeType, WorkflowType


@dataclass(slots=True)
class Outcome:
    """What an attempt has given so far; a failed one may still have a response to look at."""

    reward: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    response: str = ""
    answer: dict[str, Any] | None = None
    explanation: str = ""
    call_rewards: list[float] | None = None
    state_keys: list[str] | None = None
    judge_seconds: float = 0.0


OnMissing = Callable[[str, str], None]
"""Hears of each metric that is no finite number: its name, and what it is."""


class UsersFunctions:
    """A workflow and its judge.

    Args:
        workflow_func: see `agentscope_tuner.workflow`; already checked.
        judge_func: if there is one, its reward counts and the workflow's is not looked at.
        on_missing: hears of metrics that are no numbers.
    """

    def __init__(
        self,
        workflow_func: WorkflowType,
        judge_func: JudgeType | None,
        on_missing: OnMissing,
    ) -> None:
        self._workflow_func = workflow_func
        self._judge = judge_func and UsersJudge(judge_func, on_missing)
        self._on_missing = on_missing

    async def attempt(
        self, task: dict[str, Any], session: Session, outcome: Outcome, logger: logging.Logger
    ) -> None:
        """Fill `outcome`. Raises RolloutFailure, whatever the functions do."""
        models = session.auxiliary_models
        with boundary("workflow"):
            output = await _call(
                self._workflow_func, models, logger, task=task, model=session.model
            )
            check_fields("workflow", output)
            outcome.metrics = _numbers("workflow", output.metrics, self._on_missing)
            response = output.response
            outcome.response = response_text(response)
            outcome.answer = kept_response(response)
        if not session.trajectory.calls:
            raise RolloutFailure("empty", _why_empty(session))
        with boundary("workflow"):
            calls = len(session.trajectory.calls)
            steps = read_steps("workflow", output, calls)
            outcome.call_rewards, outcome.state_keys = steps
        if self._judge is None:
            with boundary("workflow"):
                outcome.reward = read_reward("workflow", output.reward)
            return
        clock = time.perf_counter()
        try:
            await self._judge.judge(task, response, calls, models, outcome, logger)
        finally:
            outcome.judge_seconds = time.perf_counter() - clock


class UsersJudge:
    """A judge by itself: of rollouts as they end, and of recorded ones.

    Args:
        judge_func: see `agentscope_tuner.workflow`; already checked.
        on_missing: hears of metrics that are no numbers.
    """

    def __init__(self, judge_func: JudgeType, on_missing: OnMissing) -> None:
        self._judge_func = judge_func
        self._on_missing = on_missing

    async def judge(
        self,
        task: dict[str, Any],
        response: Any,
        calls: int,
        models: Mapping[str, ChatModelBase],
        outcome: Outcome,
        logger: logging.Logger,
    ) -> None:
        """Fill `outcome` with what it says of a rollout that called its model `calls` times.

        Raises RolloutFailure, whatever the function does.
        """
        with boundary("judge"):
            verdict = await _call(self._judge_func, models, logger, task=task, response=response)
            check_fields("judge", verdict)
            outcome.explanation = read_explanation(getattr(verdict, "explanation", None))
            outcome.metrics = outcome.metrics | _numbers("judge", verdict.metrics, self._on_missing)
            outcome.reward = read_reward("judge", verdict.reward)
            rewards, _ = read_steps("judge", verdict, calls)
            outcome.call_rewards = outcome.call_rewards if rewards is None else rewards


def _numbers(role: Role, metrics: Any, on_missing: OnMissing) -> dict[str, float]:
    numbers, others = read_metrics(role, metrics)
    for name, value in others.items():
        on_missing(name, value)
    return numbers


async def _call(
    func: Callable[..., Any],
    models: Mapping[str, ChatModelBase],
    logger: logging.Logger,
    **arguments: Any,
) -> Any:
    """Call a user's function with what it takes."""
    optional = {"auxiliary_models": dict(models), "logger": logger}
    taken = inspect.signature(func).parameters
    given = {name: value for name, value in optional.items() if name in taken}
    return await func(**arguments, **given)


def _why_empty(session: Session) -> str:
    if session.trajectory.overflows:
        return "Every call was refused: its prompt was too long (max_model_len, max_prompt_tokens)."
    return "The workflow never called the model it was given, so there is nothing to learn from."
