"""What `tune()` does with a configuration: `run` trains, `check` and `evaluate` look."""

from __future__ import annotations

from typing import Any

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.importance import ImportanceCorrection
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.random_state import restore_random_state, seed_random_streams
from agentscope_tuner.checkpoint.run_state import RunStatus
from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config.buffer import RolloutArgs
from agentscope_tuner.config.keys import values_of
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.engine.base import Sampling
from agentscope_tuner.engine.check import check_workflow
from agentscope_tuner.engine.evaluate import EvaluateOptions, evaluate_models
from agentscope_tuner.engine.local import LocalEngine
from agentscope_tuner.engine.loop import Evaluation, LoopSettings, TrainingLoop
from agentscope_tuner.engine.models import default_device, sampling_dtype, training_dtype
from agentscope_tuner.engine.record import LOOP_STATE, RunRecord
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.engine.run_directory import (
    find_place,
    last_checkpoint,
    write_configuration,
)
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.engine.supervised import SupervisedLoop, refuse_bad_samples
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.base import HyperParameter, RunInfo
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.runs.identity import write_identity
from agentscope_tuner.tasks import Taskset, load_samples, make_selector, make_tasks
from agentscope_tuner.workflow import JudgeType, WorkflowType


async def run(
    config: Config,
    *,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    resume: bool,
    stop: StopRequest,
) -> TuneResult:
    """Train to the last step, or to a stop request; see `tune()`."""
    algorithm = make_algorithm(config)
    evaluations = evaluation_sets(config)
    if workflow_func is None and not algorithm.supervised:
        raise InputError("tune() needs a workflow_func: the agent whose model is tuned.")
    if workflow_func is None and evaluations:
        raise InputError(
            "An eval_dataset needs a workflow_func: the agent that is evaluated on it."
        )
    monitors = create_monitors(config.monitor.monitor_type)
    taskset = training_taskset(config)
    place = find_place(config, resume)
    console = ConsoleMonitor()
    for notice in notices(config):
        console.note(notice)
    with RunLock(place.directory) as lock:
        place = find_place(config, resume)  # another process may have begun or ended it meanwhile
        trainer = config.trainer
        store = CheckpointStore(place.directory, trainer.keep_last, trainer.keep_best)
        store.recover()
        checkpoint = last_checkpoint(place, store)
        seed_random_streams(config.seed)
        engine = LocalEngine(
            config, algorithm, workflow_func, judge_func, taskset.total_steps, checkpoint
        )
        if algorithm.supervised:
            refuse_bad_samples(engine, taskset.samples)
        state = load_state(checkpoint / "tuner_state" / LOOP_STATE) if checkpoint else None
        info = RunInfo(
            project=config.project,
            name=place.directory.name,
            directory=place.directory,
            hyperparameters=hyperparameters(config),
            resumed_step=state["loop"]["step"] if state else None,
        )
        record = RunRecord(info, taskset.total_steps, monitors, console, lock, store, checkpoint)
        settings = LoopSettings(
            group_size=config.algorithm.repeat_times,
            total_steps=taskset.total_steps,
            save_interval=trainer.save_interval,
            eval_interval=config.explorer.eval_interval,
            seed=config.seed,
            sampling=sampling_of(config.buffer.explorer_input.taskset.rollout_args),
        )
        make_loop = SupervisedLoop if algorithm.supervised else TrainingLoop
        loop = make_loop(engine, taskset, algorithm, evaluations, record, settings, stop)
        if state is not None:
            loop.load_state_dict(state["loop"])
            restore_random_state(state["random"])
        status: RunStatus = "failed"
        try:
            with store.naming_failures(), stop.listening(console):
                write_configuration(config, place.directory)
                record.begin()
                inputs = config.buffer.explorer_input
                write_identity(
                    place.directory,
                    engine.policy.tokenizer,
                    model={
                        "path": config.trained_model().model_path,
                        "directory": engine.model_directory,
                    },
                    datasets={"train": inputs.taskset.path}
                    | {dataset.name: dataset.path for dataset in inputs.eval_tasksets},
                )
                status = "finished" if await loop.run() else "interrupted"
        finally:
            try:
                with store.naming_failures():
                    record.end(status)
            finally:
                await engine.close()
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


async def check(
    config: Config,
    *,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
) -> None:
    """Show one rollout; see `astuner check`."""
    if workflow_func is None:
        raise InputError("There is no workflow_func to check: give tune() one.")
    algorithm = make_algorithm(config)
    await check_workflow(
        config,
        training_taskset(config),
        sampling_of(config.buffer.explorer_input.taskset.rollout_args),
        workflow_func,
        judge_func,
        reference=algorithm.needs_reference,
    )


async def evaluate(
    config: Config,
    *,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    **options: Any,
) -> None:
    """Score models on the held-out sets; see `astuner evaluate` and `EvaluateOptions`."""
    if workflow_func is None:
        raise InputError("There is no workflow_func to evaluate with: give tune() one.")
    evaluations = evaluation_sets(config)
    await evaluate_models(
        config, evaluations, EvaluateOptions(**options), workflow_func, judge_func
    )


def make_algorithm(config: Config) -> Algorithm:
    """The configured algorithm. Raises InputError if its parts or its group size do not fit."""
    settings = config.algorithm
    algorithm = get_algorithm(
        settings.algorithm_type,
        advantage_fn_args=settings.advantage_fn_args.model_dump(exclude_none=True),
        policy_loss_fn=settings.policy_loss_fn,
        policy_loss_fn_args=settings.policy_loss_fn_args.model_dump(exclude_none=True),
        kl_loss_fn=settings.kl_loss_fn,
        **settings.kl_loss_fn_args.model_dump(exclude_none=True),
        entropy_coef=settings.entropy_loss_fn_args.entropy_coef or 0.0,
        importance_correction=importance_correction(config),
    )
    if algorithm.group_based and settings.repeat_times < 2:
        raise InputError(
            f"{settings.algorithm_type} compares the rollouts of a group, so a group_size of "
            f"{settings.repeat_times} teaches nothing: make it at least 2."
        )
    if algorithm.supervised and config.buffer.train_batch_size is not None:
        raise InputError(
            f"buffer.train_batch_size has no use in {settings.algorithm_type}: every step is one "
            "update on batch_size conversations."
        )
    return algorithm


def importance_correction(config: Config) -> ImportanceCorrection:
    """As configured, or what the precisions of sampler and learner call for."""
    settings, device = config.algorithm, default_device()
    if settings.importance_correction is not None or settings.algorithm_type == "sft":
        return settings.importance_correction or "none"
    same = training_dtype(config, device) == sampling_dtype(config.trained_model(), device)
    return "none" if same else "truncated"


def training_taskset(config: Config) -> Taskset:
    """The tasks to learn from, in the configured order."""
    dataset = config.buffer.explorer_input.taskset
    assert dataset.path is not None, "a resolved configuration has a dataset"
    samples = load_samples(dataset.path, name=dataset.subset_name, split=dataset.split)
    selector = make_selector(
        samples,
        dataset.data_selector.selector_type,
        seed=config.seed,
        feature_keys=dataset.data_selector.feature_keys,
        kwargs=dataset.data_selector.kwargs,
    )
    return Taskset(
        samples,
        config.buffer.batch_size,
        selector=selector,
        total_epochs=config.buffer.total_epochs,
        total_steps=config.buffer.total_steps,
        workflow_args=dataset.workflow_args,
    )


def evaluation_sets(config: Config) -> list[Evaluation]:
    """The held-out sets."""
    sets = []
    for dataset in config.buffer.explorer_input.eval_tasksets:
        assert dataset.path is not None, "checked by the schema"
        samples = load_samples(dataset.path, name=dataset.subset_name, split=dataset.split)
        sets.append(
            Evaluation(
                name=dataset.name,
                tasks=make_tasks(samples, range(len(samples)), workflow_args=dataset.workflow_args),
                sampling=sampling_of(dataset.rollout_args),
                samples=dataset.repeat_times,
            )
        )
    return sets


def sampling_of(arguments: RolloutArgs) -> Sampling:
    """How a dataset's rollouts are sampled."""
    return Sampling(arguments.temperature, arguments.top_p, arguments.max_tokens)


def hyperparameters(config: Config) -> dict[str, HyperParameter]:
    """The configuration, flat, as monitors show it."""
    return {
        key.name: key.value if isinstance(key.value, HyperParameter) else str(key.value)
        for key in values_of(config)
    }
