"""`astuner rescore`: the rollouts of a run judged again, by another judge; no workflow is run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from agentscope_tuner.chat.remote import RemoteModel
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat_model import ChatModelBase
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.models import auxiliary_models, default_device
from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout.attempt import Outcome, UsersJudge
from agentscope_tuner.rollout.boundary import RolloutFailure
from agentscope_tuner.rollout.deadline import DeadlineExceeded, SelfCancelled, run_until
from agentscope_tuner.rollout.logger import RolloutLogger
from agentscope_tuner.rollout.response import response_of
from agentscope_tuner.runs.diagnosis.case import answer
from agentscope_tuner.runs.encoding import rollout_of
from agentscope_tuner.runs.files import RunFiles
from agentscope_tuner.runs.rescored import MAX_ANSWER, Rejudged, Rescored
from agentscope_tuner.trajectory import RolloutError
from agentscope_tuner.verbosity import progress_bars
from agentscope_tuner.workflow import JudgeType

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""Rollouts that are read and judged at once."""


async def rescore(
    files: RunFiles,
    config: Config,
    judge_func: JudgeType,
    *,
    step: int | None,
    evaluation: str | None,
) -> Rescored:
    """Judge a run's rollouts again.

    Args:
        config: the run's own: its time limit and its auxiliary models hold for the judge.
        judge_func: already checked.
        step: only this step's rollouts; None: all steps'.
        evaluation: rollouts of this evaluation set; None: training's.

    Raises InputError if there are no such rollouts, or they are damaged.
    """
    rows = _rows(files, step, evaluation)
    columns = files.table.columns
    rewarded = [row for row in rows if not np.isnan(columns["reward"][row])]
    judge = UsersJudge(judge_func, lambda name, value: None)
    rejudged: list[Rejudged] = []
    as_text = 0
    async with AsyncExitStack() as opened:
        models = await _auxiliary(config, opened)
        progress = opened.enter_context(progress_bars())
        bar = progress.add_task("judging", total=len(rewarded))
        for at in range(0, len(rewarded), AT_ONCE):
            chunk = rewarded[at : at + AT_ONCE]
            stored = files.stored(chunk)
            as_text += sum(one.get("answer") is None for one in stored)
            rejudged += await asyncio.gather(
                *(
                    _judge_again(judge, one, line, models, config.explorer.max_timeout)
                    for one, line in zip(stored, files.table.lines(chunk), strict=True)
                )
            )
            progress.advance(bar, len(chunk))
    return Rescored(rejudged, len(rows) - len(rewarded), as_text)


def _rows(files: RunFiles, step: int | None, evaluation: str | None) -> list[int]:
    files.table.refresh()
    columns = files.table.columns
    wanted = columns["set"] == files.table.code("set", evaluation)
    if step is not None:
        wanted &= columns["step"] == step
    rows: list[int] = np.flatnonzero(wanted).tolist()
    if not rows:
        of = f"of the set {evaluation!r}" if evaluation is not None else "of training"
        at = f" at step {step}" if step is not None else ""
        raise InputError(f"{files.directory} has no rollouts {of}{at}.")
    return rows


async def _auxiliary(config: Config, opened: AsyncExitStack) -> Mapping[str, ChatModelBase]:
    """The configured auxiliary models, ready to be called by a judge."""
    found = auxiliary_models(
        config.auxiliary_models(), default_device(), config.deterministic, opened
    )
    here = {name: model for name, model in found.items() if isinstance(model, ServedModel)}
    others = {name: model for name, model in found.items() if isinstance(model, RemoteModel)}
    if not here:
        return {name: model.connect() for name, model in others.items()}
    name, first = here.popitem()  # it stands where the model that is tuned would
    service = ChatService(first, {**here, **others})
    opened.push_async_callback(service.close)
    session = service.open("rescore")
    opened.callback(session.close)
    return {**session.auxiliary_models, name: session.model}


async def _judge_again(
    judge: UsersJudge,
    stored: dict[str, Any],
    line: dict[str, Any],
    models: Mapping[str, ChatModelBase],
    timeout_s: float,
) -> Rejudged:
    rollout = rollout_of(stored)
    outcome, error = Outcome(), None
    calls = len(rollout.trajectory.calls)
    work = judge.judge(
        rollout.task, response_of(rollout), calls, models, outcome, RolloutLogger(logger)
    )
    try:
        await run_until(work, timeout_s=timeout_s, close=lambda: None)
    except RolloutFailure as failure:
        error = failure.error
    except DeadlineExceeded:
        error = RolloutError("timeout", f"The judge was not done after {timeout_s:.4g} s.")
    except SelfCancelled:
        error = RolloutError("judge", "CancelledError: the judge was cancelled.")
    return Rejudged(
        id=rollout.id,
        step=line["step"],
        group=f"{line['step']} {line['group']}",
        task=int(line["task"], 16),
        about=line["about"],
        answer=answer(stored)[:MAX_ANSWER],
        before=line["reward"],
        after=None if error else outcome.reward,
        explanation=outcome.explanation,
        error=error,
    )
