"""clipb: grpo that lets bad tokens go which would cost most of the entropy.

    S = p (H + ln p)

says how a push on a token moves the entropy H of its distribution. A token with A < 0 is left out
where S is more than `mu` deviations (of the population) below the mean S of the step's tokens.
arXiv:2602.03392.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agentscope_tuner.algorithms.advantage import set_token_advantages
from agentscope_tuner.algorithms.grpo import Grpo
from agentscope_tuner.algorithms.token_rewards import trained_calls
from agentscope_tuner.trajectory import RolloutGroup, Sampled


@dataclass(frozen=True)
class ClipB(Grpo):
    """Advantages of `clipb`."""

    name: ClassVar[str] = "clipb"
    aliases: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[str]] = frozenset({"proximal", "entropy"})

    mu: float = 2.5
    """Deviations below the mean at which a bad token is left out."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a token: the rollout's, or 0."""
        super().__call__(groups)
        learnt = [
            rollout
            for rollout in (rollout for group in groups for rollout in group.rollouts)
            if rollout.advantage is not None
        ]
        scores = [[pushes(sampled) for sampled in trained_calls(rollout)] for rollout in learnt]
        everything = np.concatenate([np.empty(0), *(call for calls in scores for call in calls)])
        if not len(everything):
            return
        bound = everything.mean() - self.mu * everything.std()
        for rollout, calls in zip(learnt, scores, strict=True):
            advantage = rollout.advantage
            assert advantage is not None
            set_token_advantages(
                rollout,
                [np.where((advantage < 0) & (call < bound), 0.0, advantage) for call in calls],
            )


def pushes(sampled: Sampled) -> np.ndarray:
    """S of each trained token."""
    logprobs, entropy = (
        np.asarray(sampled.columns[name], np.float64)[sampled.trained()]
        for name in ("proximal", "entropy")
    )
    return np.exp(logprobs) * (entropy + logprobs)
