"""Asymmetric REINFORCE: a baseline below the mean reward keeps off-policy learning stable.

    advantage_i = r_i - (mean(r) + baseline_shift),  baseline_shift < 0

Arnal et al., "Asymmetric REINFORCE for off-Policy Reinforcement Learning", 2025
(arXiv:2506.20520): at or above the mean, off-policy learning collapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import ClassVar

from agentscope_tuner.algorithms.advantage import GroupAdvantage, rewards_of
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.trajectory import Rollout


@dataclass(frozen=True)
class AsymRe(GroupAdvantage):
    """Advantages of `asymre`."""

    name: ClassVar[str] = "asymre"
    aliases: ClassVar[tuple[str, ...]] = ("asymre_verl",)

    baseline_shift: float = -0.1
    """Added to the mean reward."""

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """See the module."""
        rewards = rewards_of(rollouts)
        baseline = mean(rewards) + self.baseline_shift
        return [reward - baseline for reward in rewards]


ASYMRE = AlgorithmType("asymre", "Off-policy rollouts, many of them failures.", "asymre", "opmd")
