"""`tune()`: arguments become a configuration, that an engine, and that a better model."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agentscope_tuner.config.arguments import AlgorithmConfig, DatasetConfig, TunerModelConfig
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.errors import InputError
from agentscope_tuner.event_loop import is_inside_a_loop, run_to_completion
from agentscope_tuner.functions import load_function, reference_to
from agentscope_tuner.importing import without_collection
from agentscope_tuner.workflow import (
    JudgeType,
    WorkflowType,
    check_judge_function,
    check_workflow_function,
)

if TYPE_CHECKING:
    from agentscope_tuner.engine.callbacks import Callback
    from agentscope_tuner.engine.result import TuneResult

F = TypeVar("F", bound=Callable[..., Any])

NEED_A_WORKFLOW = ("check", "evaluate")
"""Commands that pass over a call of `tune()` without one."""


@dataclass(slots=True)
class Invocation:
    """What the command line adds to the `tune(...)` calls of the script it runs, and hears back."""

    command: str = "run"
    settings: Sequence[str] = ()
    resume: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the command (`evaluate`'s samples, say)."""
    report: Callable[[Any], None] | None = None
    """Shows what a command that only looks has found."""
    calls: int = 0
    """How often tune() was called."""
    passed_over: int = 0
    """How many of these calls the command had nothing to do with."""
    stopped_by: int | None = None
    """The signal that ended a run before its last step."""


_invocation: ContextVar[Invocation | None] = ContextVar("invocation", default=None)
_loading: ContextVar[str | None] = ContextVar("loading", default=None)
"""The configured function whose file is being imported."""
_running = threading.Lock()
"""Held while a run or a look at one is under way."""


@contextmanager
def invoked_as(invocation: Invocation) -> Iterator[None]:
    """Every `tune(...)` call inside the block obeys `invocation`."""
    token = _invocation.set(invocation)
    try:
        yield
    finally:
        _invocation.reset(token)


def tune(
    *,
    workflow_func: WorkflowType | None = None,
    judge_func: JudgeType | None = None,
    train_dataset: DatasetConfig | None = None,
    eval_dataset: DatasetConfig | Mapping[str, DatasetConfig] | None = None,
    model: TunerModelConfig | None = None,
    auxiliary_models: dict[str, TunerModelConfig] | None = None,
    algorithm: AlgorithmConfig | None = None,
    project_name: str | None = None,
    experiment_name: str | None = None,
    monitor_type: str | Sequence[str] | None = None,
    config_path: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TuneResult:
    """Tune the model behind a workflow.

    Args:
        workflow_func: The agent: `async (task, model, auxiliary_models) -> WorkflowOutput`. Needed
            by every algorithm but `sft`, `dpo` and `cpt`, which learn from the dataset alone; the
            configuration may name it too (`workflow.workflow_func`), and the judge.
        judge_func: `async (task, response, auxiliary_models) -> JudgeOutput`; None if the workflow
            returns the reward itself.
        train_dataset: The tasks to learn from.
        eval_dataset: Held-out tasks, evaluated at the start, every `eval_interval_steps`, and at
            the end; several if given by name.
        model: The model that is tuned.
        auxiliary_models: Further models for the workflow and the judge, by name; not tuned.
        algorithm: How it learns. Defaults to `AlgorithmConfig()`.
        project_name: Folder of the run under `checkpoints/`. Defaults to `AgentScope`.
        experiment_name: Folder of the run in the project. Defaults to `Experiment-<timestamp>`.
        monitor_type: `tensorboard` (default), `wandb`, `mlflow`, `swanlab` or `none`; or a list.
        config_path: A YAML file with all of this; arguments given explicitly override it.
        resume: Go on with the named run from its last checkpoint.
        callbacks: Hooks of your own, called while a run goes on; they may end it.

    Returns:
        The run directory, the last metrics and the last checkpoint.

    Raises:
        InputError: Something about the input is wrong; one sentence, before time is spent.
        RunError: The run cannot go on (every rollout of the first step failed, a full disk).
    """
    if (loading := _loading.get()) is not None:
        raise InputError(
            f"The file of {loading} calls tune() when it is imported: put that call below "
            "`if __name__ == '__main__':`."
        )
    invocation = _invocation.get() or Invocation()
    invocation.calls += 1
    functions = {"workflow.workflow_func": workflow_func, "workflow.judge_func": judge_func}
    config = resolve(
        model=model,
        auxiliary_models=auxiliary_models,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        algorithm=algorithm,
        project_name=project_name,
        experiment_name=experiment_name,
        monitor_type=monitor_type,
        config_path=config_path,
        functions={key: reference_to(given) for key, given in functions.items() if given},
        overrides=invocation.settings,
    )
    if invocation.command == "export-config":  # nothing but the configuration is looked at
        assert invocation.report is not None
        invocation.report(config)
        raise SystemExit(0)
    os.environ.update(config.explorer.env_vars)  # before the functions' files are imported
    workflow_func = _function(workflow_func, config.workflow.workflow_func)
    judge_func = _function(judge_func, config.workflow.judge_func)
    if workflow_func is not None:
        check_workflow_function(workflow_func)
    if judge_func is not None:
        check_judge_function(judge_func)
    # Heavy imports wait until the arguments are known to be good.
    with without_collection():
        from agentscope_tuner.engine.preflight import refuse_missing_models

    refuse_missing_models(config)
    if workflow_func is None and invocation.command in NEED_A_WORKFLOW:
        from agentscope_tuner.engine.stand_in import stand_in

        invocation.passed_over += 1
        return stand_in(config)
    with _alone():
        with without_collection():
            from agentscope_tuner import commands
            from agentscope_tuner.engine.run_directory import name_repetition
            from agentscope_tuner.engine.stop import StopRequest

        if invocation.command == "run":
            resume = resume or invocation.resume
            if config_path is not None and not resume:
                name_repetition(config, Path(config_path))
            stop = StopRequest()
            run = commands.run(
                config,
                workflow_func=workflow_func,
                judge_func=judge_func,
                resume=resume,
                stop=stop,
                callbacks=callbacks,
            )
            with stop.relaying() if is_inside_a_loop() else nullcontext():
                result = run_to_completion(run)
            if not result.finished:
                invocation.stopped_by = stop.signal
            return result
        command: Callable[..., Coroutine[Any, Any, Any]] = getattr(commands, invocation.command)
        look = command(
            config, workflow_func=workflow_func, judge_func=judge_func, **invocation.options
        )
        with StopRequest(at_once=True).relaying() if is_inside_a_loop() else nullcontext():
            found = run_to_completion(look)
    if invocation.report is not None:
        invocation.report(found)
    raise SystemExit(0)  # what the script would do next needs a result, and there is none


@contextmanager
def _alone() -> Iterator[None]:
    """Refuse a second run beside the first: both would want all threads and most of the memory, and
    what is global to a process (random streams, signals, torch's settings) would be shared.

    Waiting instead would be for hours, and for ever where the second is called by the first's
    workflow.
    """
    if not _running.acquire(blocking=False):
        raise InputError(
            "tune() is running in this process already: call it again when that one has returned, "
            "or in a process of its own."
        )
    try:
        yield
    finally:
        _running.release()


def _function(given: F | None, configured: str | None) -> F | None:
    """What the caller gave, unless `--set` or the YAML file names another function."""
    if configured is None or (given is not None and reference_to(given) == configured):
        return given
    from agentscope_tuner.compat import install

    install()
    token = _loading.set(configured)
    try:
        return cast("F", load_function(configured))
    finally:
        _loading.reset(token)
