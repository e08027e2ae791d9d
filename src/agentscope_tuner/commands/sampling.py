"""A run that only samples: the modes `explore` and `bench`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from agentscope_tuner.build.algorithm import (
    build_alerts,
    refuse_clocks,
)
from agentscope_tuner.build.data import build_evaluations, build_taskset
from agentscope_tuner.build.experience import (
    build_operators,
    build_rollout_experience,
)
from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.random_state import seed_random_streams
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.commands.info import run_info
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.engine.callbacks import Callback
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.recording import recorded
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.engine.run_directory import (
    find_place,
)
from agentscope_tuner.engine.sampling_loop import SamplingLoop
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.on_cluster import joined_cluster, open_rollouts
from agentscope_tuner.workflow import JudgeType, WorkflowType


async def sample(
    config: Config,
    *,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    resume: bool,
    stop: StopRequest,
    callbacks: Sequence[Callback],
) -> TuneResult:
    """Roll out and evaluate without training: the modes `explore` and `bench`."""
    evaluations = build_evaluations(config)
    if workflow_func is None:
        raise InputError(f"mode {config.mode} needs a workflow_func: the agent that is run.")
    if config.mode == "bench" and not evaluations:
        raise InputError("mode bench evaluates: give tune() an eval_dataset.")
    taskset = build_taskset(config) if config.mode == "explore" else None
    operators = build_operators(config, "rollouts")
    refuse_clocks(config)
    monitors = create_monitors(config.monitor.monitor_type)
    place = find_place(config, resume)
    if place.goes_on:
        raise InputError(
            f"The run {place.directory} was begun already, and without training there is nothing "
            "to go on from: give the new one another name (--set name=...)."
        )
    console = ConsoleMonitor()
    async with AsyncExitStack() as opened:
        on_cluster = opened.enter_context(joined_cluster(config))
        for notice in notices(config, on_cluster=on_cluster):
            console.note(notice)
        lock = opened.enter_context(RunLock(place.directory))
        store = CheckpointStore(place.directory)
        seed_random_streams(config.seed)
        files = ModelFiles.of_tuned(config)
        rollouts = await open_rollouts(
            config, files, None, workflow_func, judge_func, on_cluster=on_cluster
        )
        opened.push_async_callback(rollouts.close)
        info = run_info(config, place.directory, None)
        steps = taskset.total_steps if taskset else 0
        record = RunRecord(
            info,
            steps,
            monitors,
            console,
            lock,
            store,
            None,
            running=rollouts.running,
            alerts=build_alerts(config),
            callbacks=callbacks,
        )
        experience = (
            build_rollout_experience(config, rollouts, record, operators) if taskset else None
        )
        loop = SamplingLoop(rollouts, experience, taskset, evaluations, record, config.seed, stop)
        rewarding = judge_func or workflow_func
        status = await recorded(loop, config, place, files, record, store, stop, rewarding)
    return TuneResult(
        run_directory=place.directory,
        metrics=record.metrics,
        checkpoint=None,
        finished=status == "finished",
    )
