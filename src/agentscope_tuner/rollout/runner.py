"""Runs a batch of tasks as groups of rollouts, all of them concurrently.

Each rollout has a session, a model object and a copy of its task to itself. Its attempt is the
workflow and then the judge, under one deadline; an attempt that failed is made again up to
`max_retries` times where that may help, from nothing. A rollout that failed for good stays in its
group with its error.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat.session import Session
from agentscope_tuner.rollout.attempt import Outcome, UsersFunctions
from agentscope_tuner.rollout.boundary import RETRIED, RolloutFailure, guarded
from agentscope_tuner.rollout.deadline import DeadlineExceeded, SelfCancelled, run_until
from agentscope_tuner.rollout.logger import RolloutLogger
from agentscope_tuner.rollout.sampling import AS_CONFIGURED, Sampling
from agentscope_tuner.rollout.under_way import Begun, Running
from agentscope_tuner.trajectory import Rollout, RolloutError, RolloutGroup
from agentscope_tuner.visible import visible
from agentscope_tuner.workflow import JudgeType, WorkflowType

OpenSession = Callable[..., Session]


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
        self._functions = UsersFunctions(workflow_func, judge_func, self._tell_missing)
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._slots = asyncio.Semaphore(max_concurrent)
        self.running = Running()
        """The rollouts that are under way."""
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
        sampling: Sampling = AS_CONFIGURED,
        on_done: Callable[[Rollout], None] | None = None,
    ) -> list[RolloutGroup]:
        """Run `group_size` rollouts of each task; one group a task, in the tasks' order.

        `label` begins every rollout's id (`step12-0-3`: task 0, rollout 3). With one `seed`, a
        rollout's samples do not depend on which others run beside it. `on_done` hears of each
        rollout as it ends.

        Raises what a fault of ours raised, after every other rollout has been ended.
        """
        one = partial(
            self.run_one,
            label=label,
            seed=seed,
            sampling=sampling,
        )

        async def run(group: int, index: int) -> Rollout:
            rollout = await one(tasks[group], group, index)
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

    async def run_one(
        self,
        task: dict[str, Any],
        group: int,
        index: int,
        *,
        label: str,
        seed: int,
        sampling: Sampling,
    ) -> Rollout:
        """Run rollout number `index` of group number `group`, as `run_groups` does, once there is
        room for it; the rest of the groups may run elsewhere."""
        open_session = partial(
            self._service.open,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
        )
        rollout_id = f"{label}-{group}-{index}"
        async with self._slots:
            with self.running.begun(rollout_id, task) as begun:
                return await self._run(
                    rollout_id,
                    begun,
                    open_session,
                    (seed, group, index),
                    sampling.within_s,
                )

    async def _run(
        self,
        rollout_id: str,
        begun: Begun,
        open_session: OpenSession,
        stream: tuple,
        within_s: float | None,
    ) -> Rollout:
        """One rollout with its retries."""
        task, clock = begun.task, time.perf_counter()
        logger = RolloutLogger(self._logger)
        attempt = 0
        while True:
            attempt += 1
            session_id = rollout_id if attempt == 1 else f"{rollout_id}-try{attempt}"
            session = open_session(session_id, seed=_stream_seed(*stream, attempt))
            begun.attempt, begun.trajectory = attempt, session.trajectory
            outcome = Outcome()
            error: RolloutError | None = None
            left_s = math.inf if within_s is None else within_s - (time.perf_counter() - clock)
            timeout_s = min(left_s, math.inf if self._timeout_s is None else self._timeout_s)
            try:
                await self._attempt_in_time(task, session, outcome, logger, timeout_s)
            except RolloutFailure as failure:
                error = failure.error
            finally:
                session.close()
            if session.fault is not None:
                raise session.fault
            if error is None or error.kind not in RETRIED or attempt > self._max_retries:
                break
            if within_s is not None and time.perf_counter() - clock >= within_s:
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
            answer=outcome.answer,
            error=error,
            attempts=attempt,
            seconds=time.perf_counter() - clock,
            explanation=outcome.explanation,
            call_rewards=outcome.call_rewards,
            state_keys=outcome.state_keys,
            began=begun.began,
            judge_seconds=outcome.judge_seconds,
            log=list(logger.lines),
            auxiliary_calls=list(session.auxiliary_calls),
        )

    async def _attempt_in_time(
        self,
        task: dict[str, Any],
        session: Session,
        outcome: Outcome,
        logger: logging.Logger,
        timeout_s: float,
    ) -> None:
        try:
            await run_until(
                self._functions.attempt(copy.deepcopy(task), session, outcome, logger),
                timeout_s=timeout_s if timeout_s < math.inf else None,
                close=session.close,
            )
        except DeadlineExceeded:
            raise RolloutFailure(
                "timeout", f"The rollout was not done after {timeout_s:.4g} s."
            ) from None
        except SelfCancelled:
            raise RolloutFailure(
                "workflow",
                "CancelledError: the workflow or the judge was cancelled, and not by the run.",
            ) from None

    def _tell_missing(self, metric: str, value: str) -> None:
        """Name a metric that is no number; once, as every rollout may repeat it."""
        if metric not in self._missing_shown:
            self._missing_shown.add(metric)
            self._log(
                logging.WARNING,
                "The metric %s is missing where it is no finite number, such as %s",
                metric,
                value,
            )

    def _tell(self, rollout_id: str, error: RolloutError) -> None:
        first = error.kind not in self._kinds_shown
        self._kinds_shown.add(error.kind)
        self._log(
            logging.WARNING if first else logging.DEBUG,
            "Rollout %s failed (%s): %s%s",
            rollout_id,
            error.kind,
            visible(error.message),
            visible(f"\n{error.traceback}") if error.traceback else "",
        )

    def _log(self, level: int, text: str, *arguments: str) -> None:
        # Workflows may have given the logger a handler or a filter, which are user code as well.
        guarded(lambda: self._logger.log(level, text, *arguments), None)


def _stream_seed(*stream: int) -> int:
    """One seed for each attempt of each rollout, unrelated to its neighbours'."""
    return int(np.random.SeedSequence(stream).generate_state(1)[0])
