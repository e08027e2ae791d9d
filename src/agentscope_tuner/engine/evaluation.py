"""Held-out sets: what they are, and one look at how a model does on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.stopwatch import Stopwatch
from agentscope_tuner.errors import RunError
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.pass_at_k import pass_at_k
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.seeds import derived_seed
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One held-out set of tasks and how it is sampled."""

    name: str
    tasks: Sequence[dict[str, Any]]
    sampling: Sampling
    samples: int = 1
    """Rollouts a task."""


async def run_evaluation(
    evaluation: Evaluation, source: RolloutSource, record: RunRecord, step: int, seed: int
) -> None:
    """Evaluate after `step` updates of a run with this seed, and record it.

    Raises RunError if every rollout failed before the first update.
    """
    watch = Stopwatch()
    total = len(evaluation.tasks) * evaluation.samples
    with record.progress(f"evaluating {evaluation.name}", total) as on_done:
        groups = await source.rollout(
            evaluation.tasks,
            group_size=evaluation.samples,
            label=f"eval-{evaluation.name}-step{step}",
            seed=evaluation_seed(seed),
            sampling=evaluation.sampling,
            on_done=on_done,
        )
    if step == 0:
        refuse_total_failure(f"the evaluation of {evaluation.name}", groups)
    times = {"time/eval": watch.metrics()["time/step"]}
    metrics = {**summarize(groups), **times}
    if evaluation.samples > 1:
        metrics |= {f"pass@{k}": share for k, share in pass_at_k(groups).items()}
    record.evaluation(step, evaluation.name, metrics, groups)


def evaluation_seed(seed: int) -> int:
    """The seed of every evaluation of a run: all meet the same draws."""
    return derived_seed(seed, "evaluation")


def refuse_total_failure(where: str, groups: Sequence[RolloutGroup]) -> None:
    """Raise RunError, with the first failure, if no rollout got a reward."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    errors = [rollout.error for rollout in rollouts if rollout.error is not None]
    if len(errors) == len(rollouts):
        first = errors[0]
        if all(r.trajectory.overflows and not r.trajectory.calls for r in rollouts):
            raise RunError(
                f"Every prompt of {where} is too long: make max_model_len (or max_prompt_tokens) "
                f"larger, or the prompts shorter. The first one: {first.message}"
            )
        raise RunError(
            f"All {len(rollouts)} rollouts of {where} failed, so there is nothing to learn from. "
            f"The first one ({first.kind}): {first.message}\n{first.traceback}".rstrip()
        )
