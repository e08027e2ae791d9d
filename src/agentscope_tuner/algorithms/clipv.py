"""clipv: grpo that lets the worst of what is pushed against the entropy go.

    d = E[S] - S,   S = p (H + ln p)

with the mean over the tokens that could have been drawn: how much more a push on this token costs
of the entropy than one on a token drawn anew. A token with A <= 0 is left out where d is more than
`mu` deviations (of the population) of d over the step's tokens, and at most the share `max_frac` of
all tokens, rounded down, but one; the worst first. arXiv:2602.03392.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agentscope_tuner.algorithms.advantage import set_token_advantages
from agentscope_tuner.algorithms.clipb import pushes
from agentscope_tuner.algorithms.grpo import Grpo
from agentscope_tuner.algorithms.token_rewards import trained_calls
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True)
class ClipV(Grpo):
    """Advantages of `clipv`."""

    name: ClassVar[str] = "clipv"
    aliases: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[str]] = frozenset({"proximal", "entropy", "expected_push"})

    mu: float = 8.5
    """Deviations above which a token is left out that is not good."""
    max_frac: float = 1e-4
    """Share of all tokens that are left out at most."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a token: the rollout's, or 0."""
        super().__call__(groups)
        everyone = (rollout for group in groups for rollout in group.rollouts)
        learnt = [rollout for rollout in everyone if rollout.advantage is not None]
        excess, values, counts = [np.empty(0)], [np.empty(0)], []
        for rollout in learnt:
            for sampled in trained_calls(rollout):
                expected = np.asarray(sampled.columns["expected_push"], np.float64)
                excess.append(expected[sampled.trained()] - pushes(sampled))
                values.append(np.full(len(excess[-1]), rollout.advantage))
                counts.append(len(excess[-1]))
        excess_N, values_N = np.concatenate(excess), np.concatenate(values)
        if not len(excess_N):
            return
        out_N = (values_N <= 0) & (excess_N > self.mu * excess_N.std())
        worst = np.argsort(np.where(out_N, -excess_N, np.inf), kind="stable")
        values_N[worst[: min(out_N.sum(), max(int(self.max_frac * len(out_N)), 1))]] = 0.0
        calls = iter(np.split(values_N, np.cumsum(counts)[:-1]))
        for rollout in learnt:
            set_token_advantages(rollout, [next(calls) for _ in trained_calls(rollout)])
