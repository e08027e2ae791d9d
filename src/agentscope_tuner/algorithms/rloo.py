"""REINFORCE with a leave-one-out baseline: unbiased, without a standard deviation.

    advantage_i = r_i - mean of the others = n / (n - 1) * (r_i - mean(r))

Ahmadian et al., "Back to Basics", 2024 (arXiv:2402.14740). The paper takes the ratio of the whole
sequence and the divergence in the reward (`kl_penalty_fn: k1`); here as everywhere ratios are of
tokens unless `policy_loss_fn` says otherwise.
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
class LeaveOneOut(GroupAdvantage):
    """Advantages of `rloo`."""

    name: ClassVar[str] = "rloo"

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """See the module."""
        rewards = rewards_of(rollouts)
        center, scale = mean(rewards), len(rewards) / (len(rewards) - 1)
        return [scale * (reward - center) for reward in rewards]


RLOO = AlgorithmType("rloo", "Few rollouts a task; an unbiased baseline.", "rloo")
