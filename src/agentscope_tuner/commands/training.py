"""A run that trains, from its configuration to its result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from agentscope_tuner.build.algorithm import (
    build_alerts,
    build_algorithm,
    build_limits,
    build_schedule,
    refuse_clocks,
)
from agentscope_tuner.build.data import build_evaluations, build_taskset, reader
from agentscope_tuner.build.experience import (
    build_experience,
    build_operators,
    build_replay,
)
from agentscope_tuner.build.models import build_learning
from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.random_state import restore_random_state, seed_random_streams
from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.commands.info import run_info
from agentscope_tuner.commands.sampling import sample
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.engine.callbacks import Callback
from agentscope_tuner.engine.experience import FromSamples
from agentscope_tuner.engine.loop import LoopSettings, TrainingLoop
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.pipeline import Pipeline
from agentscope_tuner.engine.record import LOOP_STATE, RunRecord
from agentscope_tuner.engine.recording import recorded
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.engine.run_directory import (
    find_place,
    last_checkpoint,
)
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.on_cluster import find_ranks, joined_cluster, open_rollouts
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
        return await sample(
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
        files = ModelFiles.of_tuned(config)
        fields = config.buffer.explorer_input.taskset.fields
        read = reader(config, algorithm.data, files, fields)
        if read is not None:  # bad samples are named before anything big is loaded
            FromSamples(read).refuse_bad(taskset.samples)
        ranks = await find_ranks(config, place.directory, on_cluster=on_cluster)
        learning = build_learning(config, files, algorithm, taskset.total_steps, checkpoint, ranks)
        opened.callback(learning.release)
        weights = learning.learner.weights()
        rollouts = await open_rollouts(
            config, files, weights, workflow_func, judge_func, on_cluster=on_cluster
        )
        opened.push_async_callback(rollouts.close)
        state = load_state(checkpoint / "tuner_state" / LOOP_STATE) if checkpoint else None
        info = run_info(config, place.directory, state["loop"]["step"] if state else None)
        record = RunRecord(
            info,
            taskset.total_steps,
            monitors,
            console,
            lock,
            store,
            checkpoint,
            running=rollouts.running,
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
        pipeline = Pipeline(rollouts, experience, taskset, schedule, replay, phase=record.phase)
        loop = TrainingLoop(rollouts, learning, pipeline, evaluations, record, settings, stop)
        opened.push_async_callback(loop.close)
        if state is not None:
            loop.load_state_dict(state["loop"])
            restore_random_state(state["random"])
        rewarding = judge_func or workflow_func
        status = await recorded(loop, config, place, files, record, store, stop, rewarding)
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


def schedule_keys(config: Config) -> list[str]:
    """The keys of the schedule that were set."""
    names = {"sync_style", "sync_interval", "sync_offset", "overlap"}
    return [f"synchronizer.{name}" for name in sorted(names & config.synchronizer.model_fields_set)]
