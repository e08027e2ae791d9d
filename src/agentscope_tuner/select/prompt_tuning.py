"""`tune_prompt`: the system prompt gets better, the model stays as it is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from agentscope_tuner.config.arguments import DatasetConfig, TunerModelConfig
from agentscope_tuner.config.prompt_arguments import PromptTuneConfig
from agentscope_tuner.errors import InputError
from agentscope_tuner.event_loop import run_to_completion
from agentscope_tuner.select.candidates import Candidate, ModelLike
from agentscope_tuner.select.halving import Search
from agentscope_tuner.select.held_out import compare
from agentscope_tuner.select.prompt_run import PromptRun
from agentscope_tuner.select.prompt_trials import PromptTrials
from agentscope_tuner.tasks import load_samples, make_tasks
from agentscope_tuner.workflow import JudgeType, WorkflowType, check_function, check_judge_function

_PROVIDERS = {
    "dashscope": ("https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
}
LEVELS = {"light": (6, 100), "medium": (12, 300), "heavy": (18, 1000)}
"""Prompts to try, and tasks to try them on at most."""


def tune_prompt(
    *,
    workflow: WorkflowType,
    init_system_prompt: str,
    judge_func: JudgeType,
    train_dataset: DatasetConfig,
    eval_dataset: DatasetConfig | None = None,
    config: PromptTuneConfig | None = None,
    model: ModelLike | None = None,
    project_name: str | None = None,
    experiment_name: str | None = None,
    resume: bool = False,
) -> tuple[str, dict[str, float]]:
    """Find a system prompt that earns more reward than the first one.

    Prompts are proposed by a model, which sees what the ones before reached, and by leaving out
    sentences; they are tried on the same tasks, and the worse half is given up each time the tasks
    are doubled (successive halving).

    Args:
        workflow: `async (task, system_prompt) -> WorkflowOutput`; it may take `model`, too.
        init_system_prompt: The prompt to begin from.
        judge_func: `async (task, response) -> JudgeOutput`.
        train_dataset: The tasks to try prompts on.
        eval_dataset: Held-out tasks, to say what is gained.
        config: How to look; defaults to `PromptTuneConfig()`.
        model: A chat model, a path or a configuration: what a workflow that takes `model` gets.
            Loaded here, it meets a task with the same random numbers whatever the prompt.
        project_name, experiment_name: Folders of the run below `checkpoints/`; default to
            `AgentScope` and `Prompt-<timestamp>`.
        resume: Go on with the named run: what was proposed and tried is not done again.

    Returns:
        The best prompt (the first one, if none is better), and numbers. With an eval_dataset:
        `eval/after`, and if performance is compared `eval/before`, `eval/change` with
        `eval/change_standard_error` (paired by task), and `valset_improvement`, the change in
        percent of what was before (0 if that was 0).

    Raises:
        InputError: A function does not fit, there is no model to propose, the dataset or the run
            cannot be read.
        RunError: Every task of the first prompt failed.
    """
    config = config or PromptTuneConfig()
    takes_model = _check(workflow, model)
    check_judge_function(judge_func)
    prompts, most = LEVELS[config.optimization_level or "light"]
    train = _tasks(train_dataset)
    held_out = _tasks(eval_dataset) if eval_dataset is not None else []
    proposer = _proposer(config, model)
    name = experiment_name or f"Prompt-{datetime.now():%Y%m%d%H%M%S}"
    directory = Path("checkpoints", project_name or "AgentScope", name)
    settings = {
        "init_system_prompt": init_system_prompt,
        "train_dataset": train_dataset.model_dump(),
        "optimization_level": config.optimization_level or "light",
        "seed": config.seed,
    }
    run = PromptRun(directory, settings, resume)

    async def work() -> tuple[str, dict[str, float]]:
        async with AsyncExitStack() as stack:
            given = Candidate(model) if takes_model and model is not None else None
            its = await stack.enter_async_context(given.opened()) if given else None
            same = given is not None and proposer.given is given.given
            writer = its if same else await stack.enter_async_context(proposer.opened())
            assert writer is not None
            trials = PromptTrials(workflow, judge_func, its, run, config)
            search = Search(trials, writer, run, config.seed, prompts, most)
            best = await search.best(init_system_prompt, train)
            numbers = await compare(trials, init_system_prompt, best, held_out, config)
        run.end(best, numbers)
        return best, numbers

    return run_to_completion(work())


def _check(workflow: Callable[..., Any], model: ModelLike | None) -> bool:
    """Whether the workflow takes a model. Raises InputError if it or the model does not fit."""
    parameters = inspect.signature(workflow).parameters if callable(workflow) else {}
    takes_model = "model" in parameters
    essential = ["task", "system_prompt", *(["model"] if takes_model else [])]
    check_function("workflow", workflow, essential)
    if takes_model and model is None:
        raise InputError("The workflow takes a model: give tune_prompt() one.")
    return takes_model


def _tasks(dataset: DatasetConfig) -> list[dict[str, Any]]:
    samples = load_samples(dataset.path, name=dataset.name, split=dataset.split or None)
    return make_tasks(samples, range(len(samples)))


def _proposer(config: PromptTuneConfig, model: ModelLike | None) -> Candidate:
    """The model that proposes. Raises InputError if there is none."""
    if config.proposer is not None:
        return Candidate(config.proposer)
    provider, _, name = config.lm_model_name.partition("/")
    url, key = _PROVIDERS.get(provider, (None, ""))
    asked_for = "lm_model_name" in config.model_fields_set
    if url is not None and (asked_for or model is None) and key in os.environ:
        url = os.environ.get("OPENAI_BASE_URL", url) if provider == "openai" else url
        server = {"model_path": name, "max_model_len": 32768, "base_url": url, "api_key_env": key}
        return Candidate(TunerModelConfig.model_validate(server))
    if model is None or asked_for:
        known = ", ".join(f"{one}/... with {_PROVIDERS[one][1]} set" for one in _PROVIDERS)
        raise InputError(
            f"There is no model to propose prompts: lm_model_name is {config.lm_model_name!r} "
            f"(served: {known}). Give PromptTuneConfig(proposer=TunerModelConfig(...)), which may "
            "have a base_url, or tune_prompt(model=...)."
        )
    return Candidate(model)
