"""GDPO: several rewards, each normalised in its group before they are added up.

A sum of rewards loses their levels: of two, one and no reward a group keeps three steps, which one
normalisation mixes. So for each reward k of a rollout

    a_k = (r_k - mean(r_k)) / (std(r_k) + epsilon),   advantage = whiten(sum of weight_k * a_k)

with the mean and deviation (Bessel) of the group and the whitening over all rollouts of the step.
arXiv:2601.05242. The rewards are the metrics that the judge or the workflow returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import ClassVar

import numpy as np

from agentscope_tuner.algorithms.advantage import Advantage, whiten
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.trajectory import Rollout, RolloutGroup


@dataclass(frozen=True)
class Gdpo(Advantage):
    """Advantages of `gdpo`. Raises RunError if a rollout lacks one of the rewards."""

    name: ClassVar[str] = "gdpo"
    compares: ClassVar[bool] = True

    rewards: Mapping[str, float] = field(default_factory=dict)
    """Weight of each reward by its metric's name, `judge/accuracy` for one; at least one."""
    epsilon: float = 1e-6
    """Added to the standard deviation."""

    def __post_init__(self) -> None:
        if not self.rewards:
            raise InputError(
                "gdpo needs advantage_fn_args.rewards: the metrics that are its rewards, with "
                "their weights, as in {judge/accuracy: 1.0, judge/format: 0.5}"
            )

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Score every group that has two rewards; see the module."""
        scored: list[tuple[Rollout, float]] = []
        for group in groups:
            members = [rollout for rollout in group.rollouts if rollout.reward is not None]
            for rollout in group.rollouts:
                rollout.advantage = None
            if len(members) > 1:
                scored += zip(members, self._sums(members), strict=True)
        [values] = whiten([np.array([score for _, score in scored])])
        for (rollout, _), value in zip(scored, values.tolist(), strict=True):
            rollout.advantage = value

    def _sums(self, rollouts: Sequence[Rollout]) -> list[float]:
        sums = [0.0] * len(rollouts)
        for name, weight in self.rewards.items():
            values = [self._value(rollout, name) for rollout in rollouts]
            center, scale = mean(values), stdev(values) + self.epsilon
            sums = [s + weight * (v - center) / scale for s, v in zip(sums, values, strict=True)]
        return sums

    def _value(self, rollout: Rollout, name: str) -> float:
        if name not in rollout.metrics:
            known = ", ".join(sorted(rollout.metrics)) or "none"
            raise RunError(
                f"gdpo's reward {name!r} is not among the metrics of rollout {rollout.id} ({known})"
            )
        return rollout.metrics[name]


GDPO = AlgorithmType("gdpo", "Several rewards that should not drown each other.", "gdpo")
