"""ReMax: the return to go less the reward of a greedy rollout of the same task.

    A_t = G_t - r_greedy,   G_t = r_t + G_{t+1}

It needs no group and no critic, and one rollout more a task, at temperature 0. Rollouts whose
greedy one failed are not trained on. Li et al., 2023 (arXiv:2310.10505).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agentscope_tuner.algorithms.advantage import Advantage, set_token_advantages
from agentscope_tuner.algorithms.token_rewards import token_rewards
from agentscope_tuner.trajectory import RolloutGroup

GREEDY_REWARD = "greedy/reward"
"""In a rollout's metrics: the reward of the greedy rollout of its task."""


@dataclass(frozen=True)
class Remax(Advantage):
    """Advantages of `remax`."""

    name: ClassVar[str] = "remax"
    uses_token_rewards: ClassVar[bool] = True
    needs_greedy: ClassVar[bool] = True

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a token."""
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            baseline = rollout.metrics.get(GREEDY_REWARD)
            rollout.advantage = None
            if rollout.reward is None or baseline is None:
                continue
            calls = token_rewards(rollout)
            later = sum(float(rewards.sum()) for rewards in calls)
            advantages = []
            for rewards in calls:
                before = np.cumsum(rewards) - rewards
                advantages.append(later - before - baseline)
                later -= float(rewards.sum())
            set_token_advantages(rollout, advantages)
