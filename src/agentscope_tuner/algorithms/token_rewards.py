"""Rewards token by token, and a penalty for leaving the reference among them.

A rollout's reward comes with its last trained token, or each call's reward with the last trained
token of that call (`Rollout.call_rewards`). A penalty kl_coef * KL(pi_0 || reference) comes with
every token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.kl import KlTerm
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled


def trained_calls(rollout: Rollout) -> list[Sampled]:
    """The sampled segments of a rollout, in the order of its calls."""
    return [segment.sampled for segment in rollout.trajectory.sampled_segments() if segment.sampled]


def call_rewards(rollout: Rollout) -> list[float]:
    """One a call: the recorded ones, or the rollout's reward at the last; it must have one."""
    calls = len(trained_calls(rollout))
    if rollout.call_rewards is not None:
        return rollout.call_rewards
    assert rollout.reward is not None
    return [0.0] * (calls - 1) + [rollout.reward]


def token_rewards(rollout: Rollout) -> list[NDArray[np.float64]]:
    """For each call one reward a trained token, penalties included."""
    rewards = []
    for sampled, reward in zip(trained_calls(rollout), call_rewards(rollout), strict=True):
        trained = sampled.trained()
        penalty = sampled.columns.get("penalty", [0.0] * len(sampled.forced))
        values: NDArray[np.float64] = 0.0 - np.asarray(penalty, np.float64)[trained]
        if len(values):
            values[-1] += reward
        rewards.append(values)
    return rewards


def set_token_column(rollout: Rollout, name: str, calls: Sequence[NDArray[np.float64]]) -> None:
    """Write a column of a rollout, given each call's trained tokens."""
    for sampled, values in zip(trained_calls(rollout), calls, strict=True):
        column = np.full(len(sampled.forced), np.nan, np.float32)
        column[sampled.trained()] = values
        sampled.columns[name] = column.tolist()


@contextmanager
def penalised(groups: Sequence[RolloutGroup], penalty: KlTerm, *, by_token: bool) -> Iterator[None]:
    """Inside the block rewards are less the penalty: by token, or as sums in `Rollout.reward`.

    The columns `proximal` and `reference` must be there; the column `penalty` is written.
    """
    batch = Batch(groups, lambda rollout: rollout.reward is not None)
    proximal_N, reference_N = batch.columns["proximal"], batch.columns["reference"]
    cost_N = penalty.kl_coef * penalty.estimator(proximal_N, reference_N, proximal_N)
    batch.columns["penalty"] = cost_N
    batch.store(["penalty"])
    if by_token:
        yield
        return
    before = {number: rollout.reward for number, rollout in batch.rollouts}
    sums = np.zeros(max(before, default=-1) + 1)
    np.add.at(sums, batch.rollout_N.numpy(), cost_N.double().numpy())
    for number, rollout in batch.rollouts:
        assert rollout.reward is not None
        rollout.reward -= float(sums[number])
    try:
        yield
    finally:
        for number, rollout in batch.rollouts:
            rollout.reward = before[number]
