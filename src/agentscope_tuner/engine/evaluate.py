"""`astuner evaluate`: models on held-out tasks, side by side.

Every model meets the same tasks with the same seeds, as the evaluations of a run do, so the numbers
can be compared with each other and with those in `metrics.jsonl`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from rich.progress import Progress

from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.evaluation import Evaluation, evaluation_seed, refuse_total_failure
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.scores import ModelScores, Score, Scores
from agentscope_tuner.engine.source import find_source, short_name
from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.verbosity import progress_bars

OpenRollouts = Callable[[Config, ModelFiles], Awaitable[RolloutSource]]


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line says of an evaluation."""

    success: float
    """The least reward of a success, for pass@k."""
    models: Sequence[str] = ()
    """Model paths, checkpoints and runs; empty: the configured model."""
    samples: int | None = None
    """Rollouts a task; None: what the evaluation set says."""
    temperature: float | None = None
    """None: what the evaluation set says."""


async def evaluate_models(
    config: Config,
    evaluations: Sequence[Evaluation],
    options: EvaluateOptions,
    open_rollouts: OpenRollouts,
) -> Scores:
    """The scores of every model on every set.

    Raises InputError (no evaluation set, no such model) before time is spent, and RunError if every
    rollout of a model failed.
    """
    if not evaluations:
        raise InputError("There is nothing to evaluate on: give tune() an eval_dataset.")
    given = options.models or [config.trained_model().model_path]
    sources = [find_source(model) for model in given]
    configs = [_with_model(config, source) for source in sources]
    files = [ModelFiles.of_tuned(config) for config in configs]
    evaluations = [_as_asked(evaluation, options, config) for evaluation in evaluations]
    models = []
    with progress_bars() as progress:
        for text, source, its_config, its_files in zip(given, sources, configs, files, strict=True):
            name = short_name(text, source)
            rollouts = await open_rollouts(its_config, its_files)
            try:
                scores = [
                    await _score(rollouts, name, evaluation, config.seed, options.success, progress)
                    for evaluation in evaluations
                ]
            finally:
                await rollouts.close()
            models.append(ModelScores(name, source, scores))
    return Scores(models, config.seed)


def _with_model(config: Config, source: str) -> Config:
    copy = config.model_copy(deep=True)
    copy.model.model_path = source
    return copy


def _as_asked(evaluation: Evaluation, options: EvaluateOptions, config: Config) -> Evaluation:
    """With the command line's numbers, and the model's own where nothing else is said."""
    model, sampling = config.trained_model(), evaluation.sampling
    temperatures = (options.temperature, sampling.temperature, model.temperature)
    return replace(
        evaluation,
        samples=options.samples or evaluation.samples,
        sampling=Sampling(
            temperature=next(value for value in temperatures if value is not None),
            top_p=model.top_p if sampling.top_p is None else sampling.top_p,
            top_k=model.top_k if sampling.top_k is None else sampling.top_k,
            max_tokens=sampling.max_tokens or model.max_response_tokens,
        ),
    )


async def _score(
    rollouts: RolloutSource,
    name: str,
    evaluation: Evaluation,
    seed: int,
    success: float,
    progress: Progress,
) -> Score:
    began = perf_counter()
    total = len(evaluation.tasks) * evaluation.samples
    bar = progress.add_task(f"{name} on {evaluation.name}", total=total)
    groups = await rollouts.rollout(
        evaluation.tasks,
        group_size=evaluation.samples,
        label=f"eval-{evaluation.name}",
        seed=evaluation_seed(seed),
        sampling=evaluation.sampling,
        on_done=lambda rollout: progress.advance(bar),
    )
    progress.remove_task(bar)
    refuse_total_failure(f"{name} on {evaluation.name}", groups)
    return Score(evaluation, groups, success, perf_counter() - began)
