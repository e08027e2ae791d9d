"""pass@k: how likely at least one of k samples of a task succeeds.

The unbiased estimator of Chen et al., "Evaluating Large Language Models Trained on Code", 2021
(arXiv:2107.03374): of n samples with c successes, 1 - C(n-c, k) / C(n, k).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import fmean

from agentscope_tuner.trajectory import RolloutGroup

SUCCESS = 1.0
"""A rollout with at least this reward has succeeded, unless something else is said."""


def pass_at_k(groups: Sequence[RolloutGroup], success: float = SUCCESS) -> dict[int, float]:
    """Mean over the tasks for k = 1, 2, 4, ... and n, the number of samples a task.

    A sample succeeds if its reward is at least `success`; a failed rollout does not. Every group
    must have n rollouts; without groups there is nothing.
    """
    if not groups:
        return {}
    n = len(groups[0].rollouts)
    successes = [sum(reward >= success for reward in group.rewards) for group in groups]
    return {k: fmean(_estimate(n, c, k) for c in successes) for k in _sizes(n)}


def _estimate(n: int, c: int, k: int) -> float:
    return 1.0 - comb(n - c, k) / comb(n, k)


def _sizes(n: int) -> list[int]:
    powers = [1 << exponent for exponent in range(n.bit_length())]
    return powers if powers[-1] == n else [*powers, n]
