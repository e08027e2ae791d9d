"""Runs a batch of tasks as groups of rollouts, all of them concurrently.

Each rollout has a session, a model object and a copy of its task to itself. Its attempt is the
workflow and then the judge, under one deadline; an attempt that failed is made again up to
`max_retries` times where that may help, from nothing. A rollout that failed for good stays in its
group with its error.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat.session import Session
from agentscope_tuner.rollout.boundary import RETRIED, Role, RolloutFailure, boundary, guarded
from agentscope_tuner.rollout.deadline import DeadlineExceeded, SelfCancelled, run_until
from agentscope_tuner.rollout.logger import RolloutLogger
from agentscope_tuner.rollout.outputs import (
    check_fields,
    read_explanation,
    read_metrics,
    read_reward,
    response_text,
)
from agentscope_tuner.trajectory import Rollout, RolloutError, RolloutGroup
from agentscope_tuner.workflow import JudgeType, WorkflowType

OpenSession = Callable[..., Session]


@dataclass(slots=True)
class _Outcome:
    """What an attempt has given so far; a failed one may still have a response to look at."""

    reward: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    response: str = ""
    explanation: str = ""
    judge_seconds: float = 0.0


class RolloutRunner:
    """Runs one workflow and its judge.

    Args:
        service: opens a session for each attempt.
        workflow_func: see `agentscope_tuner.workflow`; already checked.
        judge_func: if there is one, its reward counts and the workflow's is not looked at.
        timeout_s: seconds that one attempt (workflow and judge) may take; None: no limit.
        max_retries: further attempts after one that raised or ran out of time.
        max_concurrent: rollouts under way at once, over all calls of `run_groups`.
        logger: stands behind what workflows and judges are handed as theirs; failures are told to
            it, the first of each kind with its traceback, and the metrics that are no numbers.
    """

    def __init__(
        self,
        service: ChatService,
        workflow_func: WorkflowType,
        judge_func: JudgeType | None = None,
        *,
        timeout_s: float | None = None,
        max_retries: int = 0,
        max_concurrent: int = 256,
        logger: logging.Logger | None = None,
    ) -> None:
        self._service = service
        self._workflow_func = workflow_func
        self._judge_func = judge_func
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._slots = asyncio.Semaphore(max_concurrent)
        self._logger = logger or logging.getLogger("agentscope_tuner.rollout")
        self._kinds_shown: set[str] = set()
        self._missing_shown: set[str] = set()

    async def run_groups(
        self,
        tasks: Sequence[dict[str, Any]],
        group_size: int,
        *,
        label: str,
        seed: int,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        on_done: Callable[[Rollout], None] | None = None,
    ) -> list[RolloutGroup]:
        """Run `group_size` rollouts of each task; one group a task, in the tasks' order.

        `label` begins every rollout's id (`step12-0-3`: task 0, rollout 3). With one `seed`, a
        rollout's samples do not depend on which others run beside it. The sampling arguments
        override the model's configuration. `on_done` hears of each rollout as it ends.

        Raises what a fault of ours raised, after every other rollout has been ended.
        """
        open_session = partial(
            self._service.open, temperature=temperature, top_p=top_p, max_tokens=max_tokens
        )

        async def run(group: int, index: int) -> Rollout:
            async with self._slots:
                rollout = await self._run(
                    f"{label}-{group}-{index}", tasks[group], open_session, (seed, group, index)
                )
            if on_done is not None:
                on_done(rollout)
            return rollout

        try:
            async with asyncio.TaskGroup() as running:
                groups = [
                    [running.create_task(run(group, index)) for index in range(group_size)]
                    for group in range(len(tasks))
                ]
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None
        return [
            RolloutGroup(f"{label}-{group}", task, [rollout.result() for rollout in rollouts])
            for group, (task, rollouts) in enumerate(zip(tasks, groups, strict=True))
        ]

    async def _run(
        self, rollout_id: str, task: dict[str, Any], open_session: OpenSession, stream: tuple
    ) -> Rollout:
        """One rollout with its retries."""
        began, clock = time.time(), time.perf_counter()
        logger = RolloutLogger(self._logger)
        attempt = 0
        while True:
            attempt += 1
            session_id = rollout_id if attempt == 1 else f"{rollout_id}-try{attempt}"
            session = open_session(session_id, seed=_stream_seed(*stream, attempt))
            outcome = _Outcome()
            error: RolloutError | None = None
            try:
                await self._attempt_in_time(task, session, outcome, logger)
            except RolloutFailure as failure:
                error = failure.error
            finally:
                session.close()
            if session.fault is not None:
                raise session.fault
            if error is None or error.kind not in RETRIED or attempt > self._max_retries:
                break
        if error is not None:
            self._tell(rollout_id, error)
        return Rollout(
            rollout_id,
            task,
            session.trajectory,
            reward=None if error else outcome.reward,
            metrics=outcome.metrics,
            response=outcome.response,
            error=error,
            attempts=attempt,
            seconds=time.perf_counter() - clock,
            explanation=outcome.explanation,
            began=began,
            judge_seconds=outcome.judge_seconds,
            log=list(logger.lines),
            auxiliary_calls=list(session.auxiliary_calls),
        )

    async def _attempt_in_time(
        self,
        task: dict[str, Any],
        session: Session,
        outcome: _Outcome,
        logger: logging.Logger,
    ) -> None:
        try:
            await run_until(
                self._attempt(copy.deepcopy(task), session, outcome, logger),
                timeout_s=self._timeout_s,
                close=session.close,
            )
        except DeadlineExceeded:
            raise RolloutFailure(
                "timeout", f"The rollout was not done after {self._timeout_s:g} s."
            ) from None
        except SelfCancelled:
            raise RolloutFailure(
                "workflow",
                "CancelledError: the workflow or the judge was cancelled, and not by the run.",
            ) from None

    async def _attempt(
        self,
        task: dict[str, Any],
        session: Session,
        outcome: _Outcome,
        logger: logging.Logger,
    ) -> None:
        """The workflow, then the judge."""
        with boundary("workflow"):
            output = await _call(
                self._workflow_func, session, logger, task=task, model=session.model
            )
            check_fields("workflow", output)
            outcome.metrics = self._read_metrics("workflow", output.metrics)
            response = output.response
            outcome.response = response_text(response)
        if not session.trajectory.calls:
            raise RolloutFailure("empty", _why_empty(session))
        if self._judge_func is None:
            with boundary("workflow"):
                outcome.reward = read_reward("workflow", output.reward)
            return

        clock = time.perf_counter()
        try:
            with boundary("judge"):
                verdict = await _call(
                    self._judge_func, session, logger, task=task, response=response
                )
                check_fields("judge", verdict)
                outcome.explanation = read_explanation(getattr(verdict, "explanation", None))
                outcome.metrics = outcome.metrics | self._read_metrics("judge", verdict.metrics)
                outcome.reward = read_reward("judge", verdict.reward)
        finally:
            outcome.judge_seconds = time.perf_counter() - clock

    def _read_metrics(self, role: Role, metrics: Any) -> dict[str, float]:
        """The numbers among the metrics; each other name is told once."""
        numbers, others = read_metrics(role, metrics)
        for name in others.keys() - self._missing_shown:
            self._missing_shown.add(name)
            self._log(
                logging.WARNING,
                "The metric %s is missing where it is no finite number, such as %s",
                name,
                others[name],
            )
        return numbers

    def _tell(self, rollout_id: str, error: RolloutError) -> None:
        first = error.kind not in self._kinds_shown
        self._kinds_shown.add(error.kind)
        self._log(
            logging.WARNING if first else logging.DEBUG,
            "Rollout %s failed (%s): %s%s",
            rollout_id,
            error.kind,
            error.message,
            f"\n{error.traceback}" if error.traceback else "",
        )

    def _log(self, level: int, text: str, *arguments: str) -> None:
        # Workflows may have given the logger a handler or a filter, which are user code as well.
        guarded(lambda: self._logger.log(level, text, *arguments), None)


async def _call(
    func: Callable[..., Any], session: Session, logger: logging.Logger, **arguments: Any
) -> Any:
    """Call a user's function with what it takes."""
    optional = {"auxiliary_models": dict(session.auxiliary_models), "logger": logger}
    taken = inspect.signature(func).parameters
    given = {name: value for name, value in optional.items() if name in taken}
    return await func(**arguments, **given)


def _stream_seed(*stream: int) -> int:
    """One seed for each attempt of each rollout, unrelated to its neighbours'."""
    return int(np.random.SeedSequence(stream).generate_state(1)[0])


def _why_empty(session: Session) -> str:
    if session.trajectory.overflows:
        return "Every call was refused: its prompt was too long (max_model_len, max_prompt_tokens)."
    return "The workflow never called the model it was given, so there is nothing to learn from."
