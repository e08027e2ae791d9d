"""REINFORCE++: no critic, and a baseline over the whole step.

`reinforceplusplus`: the return from each trained token on, G_t = r_t + gamma * G_{t+1}, penalties
included, whitened over all trained tokens of the step; it works with one rollout a task.
`reinforceplusplus_baseline`: the reward less its group's mean, whitened over all trained tokens: no
small deviation of one group can blow up a step. Hu et al., 2025 (arXiv:2501.03262).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import ClassVar

import numpy as np

from agentscope_tuner.algorithms.advantage import Advantage, set_token_advantages, whiten
from agentscope_tuner.algorithms.token_rewards import token_rewards, trained_calls
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True)
class ReturnToGo(Advantage):
    """Advantages of `reinforceplusplus`."""

    name: ClassVar[str] = "reinforceplusplus"
    uses_token_rewards: ClassVar[bool] = True

    gamma: float = 1.0
    """Discount from token to token."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a token."""
        everyone = [rollout for group in groups for rollout in group.rollouts]
        scored = [rollout for rollout in everyone if rollout.reward is not None]
        returns = []
        for rollout in scored:
            rewards = np.concatenate([np.empty(0), *token_rewards(rollout)])
            later = 0.0
            for t in reversed(range(len(rewards))):
                later = rewards[t] = rewards[t] + self.gamma * later
            returns.append(rewards)
        for rollout in everyone:
            rollout.advantage = None
        for rollout, white in zip(scored, whiten(returns), strict=True):
            counts = [len(sampled.trained()) for sampled in trained_calls(rollout)]
            if counts:
                set_token_advantages(rollout, np.split(white, np.cumsum(counts)[:-1]))


@dataclass(frozen=True)
class BatchBaseline(Advantage):
    """Advantages of `reinforceplusplus_baseline`."""

    name: ClassVar[str] = "reinforceplusplus_baseline"
    compares: ClassVar[bool] = True

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a rollout."""
        scored, centred = [], []
        for group in groups:
            for rollout in group.rollouts:
                rollout.advantage = None
                if rollout.reward is not None and len(group.rewards) > 1:
                    scored.append(rollout)
                    tokens = rollout.trajectory.trained_tokens
                    centred.append(np.full(tokens, rollout.reward - mean(group.rewards)))
        for rollout, white in zip(scored, whiten(centred), strict=True):
            rollout.advantage = float(white[0]) if len(white) else None


REINFORCEPLUSPLUS = AlgorithmType(
    "reinforceplusplus", "One or few rollouts a task, without a critic.", "reinforceplusplus"
)
REINFORCEPLUSPLUS_BASELINE = AlgorithmType(
    "reinforceplusplus_baseline",
    "Groups of rewards that hardly differ.",
    "reinforceplusplus_baseline",
)
