"""What models reached on evaluation sets, as a table for people and as JSON for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from agentscope_tuner.engine.evaluation import Evaluation
from agentscope_tuner.rollout.estimate import Estimate, estimate_change, estimate_reward
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.pass_at_k import pass_at_k
from agentscope_tuner.trajectory import RolloutGroup
from agentscope_tuner.visible import visible


@dataclass(frozen=True, slots=True)
class Score:
    """One model on one evaluation set."""

    evaluation: Evaluation
    groups: Sequence[RolloutGroup]
    """In the order of the evaluation's tasks."""
    success: float
    """The least reward of a success."""
    seconds: float

    @property
    def reward(self) -> Estimate:
        """Over the rollouts that did not fail."""
        return estimate_reward(self.groups)

    @property
    def pass_at(self) -> dict[int, float]:
        """pass@k by k."""
        return pass_at_k(self.groups, self.success)

    @property
    def failures(self) -> Counter[str]:
        """Failed rollouts by the kind of their error."""
        rollouts = (rollout for group in self.groups for rollout in group.rollouts)
        return Counter(str(rollout.error.kind) for rollout in rollouts if rollout.error is not None)

    @property
    def metrics(self) -> dict[str, float]:
        """Those of `docs/metrics.md`."""
        return summarize(self.groups)

    def change_from(self, baseline: Score) -> Estimate:
        """How much more reward than the baseline, task by task."""
        return estimate_change(baseline.groups, self.groups)


@dataclass(frozen=True, slots=True)
class ModelScores:
    """One model on every evaluation set."""

    name: str
    """Short, for a table."""
    path: str
    scores: Sequence[Score]


def score_table(models: Sequence[ModelScores]) -> Table:
    """A column a model, and under each evaluation set a row a number; the first is the baseline."""
    table = Table("", *(escape(visible(model.name)) for model in models))
    for column in table.columns[1:]:
        column.justify = "right"
    for scores in zip(*(model.scores for model in models), strict=True):
        first: Score = scores[0]
        tasks, samples = len(first.groups), first.evaluation.samples
        title = f"{first.evaluation.name}: {tasks} tasks x {samples}"
        table.add_section()
        table.add_row(escape(visible(title)), style="bold")
        table.add_row("reward", *(_plus_minus(score.reward) for score in scores))
        if len(scores) > 1:
            changes = (_plus_minus(score.change_from(first), "+") for score in scores[1:])
            table.add_row("change", "", *changes)
        for k in first.pass_at:
            table.add_row(f"pass@{k}", *(f"{score.pass_at[k]:.3f}" for score in scores))
        table.add_row("failed", *(_failures(score) for score in scores))
        lengths = (score.metrics["rollout/response_tokens"] for score in scores)
        table.add_row("response tokens", *(f"{length:.1f}" for length in lengths))
        table.add_row("seconds", *(f"{score.seconds:.1f}" for score in scores))
    return table


def scores_json(models: Sequence[ModelScores], seed: int) -> dict[str, Any]:
    """Everything in the table, every metric, and the rewards one by one (null: failed)."""
    baseline = models[0]
    return {
        "seed": seed,
        "models": [
            {
                "name": model.name,
                "path": model.path,
                "sets": {
                    score.evaluation.name: _score_json(score, None if model is baseline else first)
                    for score, first in zip(model.scores, baseline.scores, strict=True)
                },
            }
            for model in models
        ],
    }


def _score_json(score: Score, baseline: Score | None) -> dict[str, Any]:
    change = {} if baseline is None else {"change": _estimate_json(score.change_from(baseline))}
    sampling = score.evaluation.sampling
    return {
        "tasks": len(score.groups),
        "samples": score.evaluation.samples,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
        "reward": _estimate_json(score.reward),
        **change,
        "success": score.success,
        "pass_at": {str(k): value for k, value in score.pass_at.items()},
        "failures": dict(score.failures),
        "seconds": score.seconds,
        "metrics": score.metrics,
        "rewards": [[rollout.reward for rollout in group.rollouts] for group in score.groups],
    }


def _estimate_json(estimate: Estimate) -> dict[str, float | None]:
    numbers = {"mean": estimate.mean, "standard_error": estimate.standard_error}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _plus_minus(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.mean:{sign}.3f} ± {estimate.standard_error:.3f}"


def _failures(score: Score) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(score.failures.items()))
    return f"{score.failures.total()} ({kinds})" if kinds else "0"
