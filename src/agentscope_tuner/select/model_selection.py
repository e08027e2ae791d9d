"""`select_model`: the best of several models for a workflow."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from agentscope_tuner.config.arguments import DatasetConfig
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.rollout.estimate import Estimate, estimate_reward
from agentscope_tuner.select.candidates import Candidate, ModelLike, OpenModel, candidates_of
from agentscope_tuner.select.handed import Handed
from agentscope_tuner.select.trials import call_judge, call_workflow, run_trials, told
from agentscope_tuner.select.usage import Usage, counted
from agentscope_tuner.tasks import load_samples, make_tasks
from agentscope_tuner.trajectory import Rollout, RolloutGroup
from agentscope_tuner.verbosity import progress_bars
from agentscope_tuner.workflow import (
    JudgeType,
    WorkflowType,
    check_function,
    check_workflow_function,
)

SEED = 0
"""Candidates that are loaded here meet a task with the same random numbers."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one candidate reached."""

    candidate: Candidate
    groups: Sequence[RolloutGroup]
    """One rollout a task."""

    @property
    def reward(self) -> Estimate:
        """Over the rollouts that did not fail."""
        return estimate_reward(self.groups)

    @property
    def failed(self) -> int:
        """Rollouts that did."""
        return sum(1 for group in self.groups if not group.rewards)

    def score(self, worst: float) -> float:
        """The mean reward, in which a failed rollout counts as the worst that anyone reached."""
        rewards = (group.rewards for group in self.groups)
        return fmean(given[0] if given else worst for given in rewards)

    def metrics(self) -> dict[str, float]:
        """The means of the judge's metrics as `<name>_avg`, the reward with its error, failures."""
        numbers: dict[str, list[float]] = {}
        for group in self.groups:
            for name, value in group.rollouts[0].metrics.items():
                if name.startswith("judge/") and group.rewards:
                    numbers.setdefault(f"{name.removeprefix('judge/')}_avg", []).append(value)
        own = {
            "reward": self.reward.mean,
            "reward_standard_error": self.reward.standard_error,
            "failed": float(self.failed),
        }
        return own | {name: fmean(values) for name, values in numbers.items()}


async def select_model(
    *,
    workflow_func: WorkflowType,
    judge_func: JudgeType,
    train_dataset: DatasetConfig,
    candidate_models: Sequence[ModelLike],
    max_threads: int = 2,
) -> tuple[Any, dict[str, float]]:
    """Choose the model with the highest mean reward.

    Args:
        workflow_func: `async (task, model) -> WorkflowOutput`.
        judge_func: `async (task, response) -> JudgeOutput`; a task called `_task` is served too.
            `response` is `{"response": ..., "metrics": ...}`, and where a judge of `tune()` asks it
            for its text or an attribute, the response itself. The metrics are the workflow's, and
            `execution_time` (seconds), `input_tokens`, `output_tokens` and `total_tokens`, which
            are left out if the model does not report them, `usage` with all three.
        train_dataset: The tasks; `total_steps` limits their number.
        candidate_models: Two or more chat models, model paths, runs, checkpoints or models as
            `TunerModelConfig` says; one is loaded at a time. All meet the same tasks.
        max_threads: Tasks under way at once.

    Returns:
        The winner, as it was given (the first of equals), and its numbers: the mean of each of the
        judge's metrics as `<name>_avg`, `reward` with `reward_standard_error`, and `failed`. A task
        on which a candidate failed counts for it as the lowest reward that any candidate reached.

    Raises:
        InputError: There are fewer than two candidates, one is no model, or the dataset cannot be
            read.
        RunError: Every task of every candidate failed.
    """
    check_workflow_function(workflow_func)
    check_judge_function(judge_func)
    if len(candidate_models) < 2:
        raise InputError("At least two candidate models must be provided.")
    if max_threads < 1:
        raise InputError(f"max_threads is {max_threads}, but it must be at least 1.")
    candidates = candidates_of(candidate_models)
    samples = load_samples(train_dataset.path, name=train_dataset.name, split=train_dataset.split)
    tasks = make_tasks(samples, range(min(train_dataset.total_steps or len(samples), len(samples))))
    results = []
    with progress_bars() as progress:
        for candidate in candidates:
            bar = progress.add_task(candidate.name, total=len(tasks))
            async with candidate.opened() as model:
                groups = await run_trials(
                    candidate.name,
                    list(enumerate(tasks)),
                    _trial(candidate.name, model, workflow_func, judge_func),
                    max_concurrent=max_threads,
                    on_done=lambda bar=bar: progress.advance(bar),  # type: ignore[misc]
                )
            results.append(Result(candidate, groups))
    best = _best(results)
    Console(stderr=True).print(_table(results, best))
    return best.candidate.given, best.metrics()


def check_judge_function(func: Callable[..., Any]) -> None:
    """Raise InputError unless `func` is a judge of `tune()`, or one that calls its task `_task`, as
    AgentScope's own do."""
    parameters = inspect.signature(func).parameters if callable(func) else {}
    check_function("judge", func, ["_task" if "_task" in parameters else "task", "response"])


def _trial(name: str, model: OpenModel, workflow: WorkflowType, judge: JudgeType) -> Any:
    async def trial(number: int, task: dict[str, Any], rollout: Rollout) -> None:
        usage = Usage()
        with model.rollout(rollout.id, (SEED, number)) as (chat_model, rollout.trajectory):
            clock = time.perf_counter()
            response, metrics = await call_workflow(
                workflow, task=task, model=counted(chat_model, usage)
            )
            metrics["execution_time"] = time.perf_counter() - clock
        rollout.response = told(response)
        tokens = usage.metrics()
        handed = Handed(response, metrics | tokens | {"usage": tokens})
        await call_judge(judge, task, handed, rollout)

    return trial


def _best(results: Sequence[Result]) -> Result:
    rewards = [reward for result in results for group in result.groups for reward in group.rewards]
    if not rewards:
        error = results[0].groups[0].rollouts[0].error
        why = "" if error is None else f" The first said: {error.message}"
        raise RunError(f"Every task of every candidate failed.{why}")
    return max(results, key=lambda result: (result.score(min(rewards)), -result.failed))


def _table(results: Sequence[Result], best: Result) -> Table:
    table = Table("candidate", "reward", "failed", "", title="select_model")
    table.columns[0].overflow = "fold"  # checkpoints of one run differ at the end of their names
    for result in results:
        reward, error = result.reward.mean, result.reward.standard_error
        shown = "none" if math.isnan(reward) else f"{reward:.3f} ± {error:.3f}"
        table.add_row(
            result.candidate.name, shown, str(result.failed), "best" if result is best else ""
        )
    return table
