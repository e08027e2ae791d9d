"""What a configuration does, without a run directory: `check` and `evaluate`."""

from __future__ import annotations

from typing import Any

from agentscope_tuner.build.algorithm import (
    build_algorithm,
)
from agentscope_tuner.build.data import build_evaluations, build_taskset, sampling_of
from agentscope_tuner.build.models import build_rollouts
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.check import Checked, check_tasks, find_duplicates
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.evaluate import EvaluateOptions, evaluate_models
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.needs import tuning_needs
from agentscope_tuner.engine.scores import Scores
from agentscope_tuner.errors import InputError
from agentscope_tuner.workflow import JudgeType, WorkflowType


async def check(
    config: Config,
    *,
    workflow_func: WorkflowType,
    judge_func: JudgeType | None,
    tasks: int,
    samples: int,
) -> Checked:
    """Roll out the first tasks of the training set; see `astuner check`."""
    algorithm = build_algorithm(config)
    first = config.model_copy(deep=True)
    first.buffer.batch_size, first.buffer.total_steps = tasks, 1
    taskset = build_taskset(first)
    if tasks > (known := len(taskset.samples)):
        raise InputError(f"--tasks {tasks}: the training set has {known}.")
    duplicates = []
    if tasks > 1:
        held_out = {evaluation.name: evaluation.tasks for evaluation in build_evaluations(config)}
        duplicates = find_duplicates([taskset.samples[at] for at in range(known)], held_out)
    files = ModelFiles.of_tuned(config)
    needs = tuning_needs(config, files, Companions.find(config, algorithm, files))
    rollouts = await build_rollouts(config, files, None, workflow_func, judge_func)
    try:
        return await check_tasks(
            rollouts,
            taskset.next_batch().tasks,
            samples,
            sampling=sampling_of(config.buffer.explorer_input.taskset.rollout_args),
            seed=config.seed,
            tokenizer=files.tokenizer,
            needs=needs,
            duplicates=duplicates,
        )
    finally:
        await rollouts.close()


async def evaluate(
    config: Config,
    *,
    workflow_func: WorkflowType,
    judge_func: JudgeType | None,
    **options: Any,
) -> Scores:
    """Score models on the held-out sets; see `astuner evaluate` and `EvaluateOptions`."""
    evaluations = build_evaluations(config)

    async def open_rollouts(config: Config, files: ModelFiles) -> RolloutSource:
        return await build_rollouts(config, files, None, workflow_func, judge_func)

    return await evaluate_models(config, evaluations, EvaluateOptions(**options), open_rollouts)
