"""What models reached on evaluation sets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.engine.evaluation import Evaluation
from agentscope_tuner.rollout.estimate import Estimate, estimate_change, estimate_reward
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.pass_at_k import pass_at_k
from agentscope_tuner.trajectory import RolloutGroup


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


@dataclass(frozen=True, slots=True)
class Scores:
    """Every model; the first is the baseline."""

    models: Sequence[ModelScores]
    seed: int

    def plain(self) -> dict[str, Any]:
        """As JSON has it: estimates, every metric, and the rewards one by one (null: failed)."""
        baseline = self.models[0]
        return {
            "seed": self.seed,
            "models": [
                {
                    "name": model.name,
                    "path": model.path,
                    "sets": {
                        score.evaluation.name: _plain(score, None if model is baseline else first)
                        for score, first in zip(model.scores, baseline.scores, strict=True)
                    },
                }
                for model in self.models
            ],
        }


def _plain(score: Score, baseline: Score | None) -> dict[str, Any]:
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
