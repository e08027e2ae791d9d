"""What `tune()` does with a configuration: `run` trains, `check` and `evaluate` look."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from agentscope_tuner.build.algorithm import (
    build_alerts,
    build_algorithm,
    build_limits,
    build_schedule,
    refuse_clocks,
)
from agentscope_tuner.build.data import build_evaluations, build_taskset, reader, sampling_of
from agentscope_tuner.build.experience import (
    build_experience,
    build_operators,
    build_replay,
    build_rollout_experience,
)
from agentscope_tuner.build.models import build_learning, build_rollouts
from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.random_state import restore_random_state, seed_random_streams
from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config.keys import values_of
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.callbacks import Callback
from agentscope_tuner.engine.check import Checked, check_tasks, find_duplicates
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.evaluate import EvaluateOptions, evaluate_models
from agentscope_tuner.engine.experience import FromSamples
from agentscope_tuner.engine.loop import LoopSettings, TrainingLoop
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.needs import tuning_needs
from agentscope_tuner.engine.pipeline import Pipeline
from agentscope_tuner.engine.record import LOOP_STATE, RunRecord
from agentscope_tuner.engine.recording import recorded
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.engine.run_directory import (
    find_place,
    last_checkpoint,
)
from agentscope_tuner.engine.sampling_loop import SamplingLoop
from agentscope_tuner.engine.scores import Scores
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.base import HyperParameter, RunInfo
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.on_cluster import joined_cluster, open_rollouts
from agentscope_tuner.workflow import JudgeType, WorkflowType


async def run(
    config: Config,
    *,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    resume: bool,
    stop: StopRequest,
    callbacks: Sequence[Callback] = (),
) -> TuneResult:
    """Run to the last step, or to a stop request; see `tune()`."""
    if config.mode in ("explore", "bench"):
        return await _sample(
            config,
            workflow_func=workflow_func,
            judge_func=judge_func,
            resume=resume,
            stop=stop,
            callbacks=callbacks,
        )
    algorithm = build_algorithm(config)
    schedule = build_schedule(config, algorithm)
    operators = build_operators(config, algorithm.data)
    replay = build_replay(config, algorithm.data)
    refuse_clocks(config)
    evaluations = build_evaluations(config)
    if workflow_func is None and algorithm.data == "rollouts":
        raise InputError("tune() needs a workflow_func: the agent whose model is tuned.")
    if workflow_func is None and evaluations:
        raise InputError(
            "An eval_dataset needs a workflow_func: the agent that is evaluated on it."
        )
    monitors = create_monitors(config.monitor.monitor_type)
    taskset = build_taskset(config)
    limits = build_limits(config)
    place = find_place(config, resume)
    console = ConsoleMonitor()
    async with AsyncExitStack() as opened:  # closes what was opened, the last first
        on_cluster = opened.enter_context(joined_cluster(config))
        for notice in notices(config, on_cluster=on_cluster):
            console.note(notice)
        if algorithm.data != "rollouts" and schedule_keys(config):
            console.note(
                f"understood, without meaning here: {', '.join(schedule_keys(config))} (what is "
                "learnt was not sampled, so no weights are handed over)"
            )
        lock = opened.enter_context(RunLock(place.directory))
        place = find_place(config, resume)  # another process may have begun or ended it meanwhile
        trainer = config.trainer
        store = CheckpointStore(place.directory, trainer.keep_last, trainer.keep_best)
        store.recover()
        checkpoint = last_checkpoint(place, store)
        seed_random_streams(config.seed)
        files = ModelFiles.find(config.trained_model().model_path)
        read = reader(config, algorithm.data, files)
        if read is not None:  # bad samples are named before anything big is loaded
            FromSamples(read).refuse_bad(taskset.samples)
        learning = build_learning(config, files, algorithm, taskset.total_steps, checkpoint)
        opened.callback(learning.release)
        weights = learning.learner.weights()
        rollouts = await open_rollouts(
            config, files, weights, workflow_func, judge_func, on_cluster=on_cluster
        )
        opened.push_async_callback(rollouts.close)
        state = load_state(checkpoint / "tuner_state" / LOOP_STATE) if checkpoint else None
        info = RunInfo(
            project=config.project,
            name=place.directory.name,
            directory=place.directory,
            hyperparameters=hyperparameters(config),
            resumed_step=state["loop"]["step"] if state else None,
        )
        record = RunRecord(
            info,
            taskset.total_steps,
            monitors,
            console,
            lock,
            store,
            checkpoint,
            limits=limits,
            alerts=build_alerts(config),
            callbacks=callbacks,
        )
        experience = build_experience(config, algorithm, rollouts, record, read, operators)
        settings = LoopSettings(
            total_steps=taskset.total_steps,
            save_interval=trainer.save_interval,
            eval_interval=config.explorer.eval_interval,
            seed=config.seed,
        )
        pipeline = Pipeline(rollouts, experience, taskset, schedule, replay)
        loop = TrainingLoop(rollouts, learning, pipeline, evaluations, record, settings, stop)
        opened.push_async_callback(loop.close)
        if state is not None:
            loop.load_state_dict(state["loop"])
            restore_random_state(state["random"])
        status = await recorded(loop, config, place, files, record, store, stop)
    if status == "interrupted":
        console.note(
            f"stopped after step {loop.step} of {taskset.total_steps}, all is saved; go on with "
            f"`astuner run <script> --set name={config.name} --resume` or "
            f"tune(..., experiment_name={config.name!r}, resume=True)"
        )
    return TuneResult(
        run_directory=place.directory,
        metrics=record.metrics,
        checkpoint=record.checkpoint,
        finished=status == "finished",
    )


async def _sample(
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
        files = ModelFiles.find(config.trained_model().model_path)
        rollouts = await open_rollouts(
            config, files, None, workflow_func, judge_func, on_cluster=on_cluster
        )
        opened.push_async_callback(rollouts.close)
        info = RunInfo(
            project=config.project,
            name=place.directory.name,
            directory=place.directory,
            hyperparameters=hyperparameters(config),
            resumed_step=None,
        )
        steps = taskset.total_steps if taskset else 0
        record = RunRecord(
            info,
            steps,
            monitors,
            console,
            lock,
            store,
            None,
            alerts=build_alerts(config),
            callbacks=callbacks,
        )
        experience = (
            build_rollout_experience(config, rollouts, record, operators) if taskset else None
        )
        loop = SamplingLoop(rollouts, experience, taskset, evaluations, record, config.seed, stop)
        status = await recorded(loop, config, place, files, record, store, stop)
    return TuneResult(
        run_directory=place.directory,
        metrics=record.metrics,
        checkpoint=None,
        finished=status == "finished",
    )


async def check(
    config: Config,
    *,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    tasks: int,
    samples: int,
) -> Checked:
    """Roll out the first tasks of the training set; see `astuner check`."""
    if workflow_func is None:
        raise InputError("There is no workflow_func to check: give tune() one.")
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
    files = ModelFiles.find(config.trained_model().model_path)
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
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    **options: Any,
) -> Scores:
    """Score models on the held-out sets; see `astuner evaluate` and `EvaluateOptions`."""
    if workflow_func is None:
        raise InputError("There is no workflow_func to evaluate with: give tune() one.")
    evaluations = build_evaluations(config)

    async def open_rollouts(config: Config, files: ModelFiles) -> RolloutSource:
        return await build_rollouts(config, files, None, workflow_func, judge_func)

    return await evaluate_models(config, evaluations, EvaluateOptions(**options), open_rollouts)


def schedule_keys(config: Config) -> list[str]:
    """The keys of the schedule that were set."""
    names = {"sync_style", "sync_interval", "sync_offset", "overlap"}
    return [f"synchronizer.{name}" for name in sorted(names & config.synchronizer.model_fields_set)]


def hyperparameters(config: Config) -> dict[str, HyperParameter]:
    """The configuration, flat, as monitors show it."""
    return {
        key.name: key.value if isinstance(key.value, HyperParameter) else str(key.value)
        for key in values_of(config)
    }
