"""How much better than expected a rollout, a call or a token was: what every advantage shares.

A failed rollout has no reward: it is left out of every statistic and not trained on. A group with
fewer than two rewards is not trained on either by what compares rollouts: there is nothing to
compare with, and a raw reward is no advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from agentscope_tuner.trajectory import Rollout, RolloutGroup


class Advantage:
    """Sets `Rollout.advantage`, or the column `advantage` where tokens differ.

    Subclasses are frozen dataclasses: their fields are the `advantage_fn_args`.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    compares: ClassVar[bool] = False
    """Whether it compares the rollouts of a group."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Columns that must be filled before."""
    uses_token_rewards: ClassVar[bool] = False
    """Whether it sums rewards token by token, so that a penalty may come with each token."""
    needs_greedy: ClassVar[bool] = False
    """Whether it looks at the reward of a greedy rollout of each task."""

    def hinted(self, groups: Sequence[RolloutGroup]) -> Sequence[RolloutGroup]:
        """The groups as the model reads them to be its own teacher, for `self_teacher`."""
        return groups

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set the advantages of one step's groups; None where a rollout is not trained on."""
        raise NotImplementedError


class GroupAdvantage(Advantage):
    """One number a rollout, from the rewards of its group alone."""

    compares = True

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Score every group that has two rewards."""
        for group in groups:
            scored = [rollout for rollout in group.rollouts if rollout.reward is not None]
            for rollout in group.rollouts:
                rollout.advantage = None
            if len(scored) > 1:
                for rollout, score in zip(scored, self.scores(scored), strict=True):
                    rollout.advantage = score

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """One number for each of a group's rollouts, of which there are at least two."""
        raise NotImplementedError


def rewards_of(rollouts: Sequence[Rollout]) -> list[float]:
    """Their rewards, which they all have."""
    return [rollout.reward for rollout in rollouts if rollout.reward is not None]


def set_token_advantages(rollout: Rollout, calls: Sequence[ArrayLike]) -> None:
    """Give each trained token of a rollout its own advantage.

    `calls` has, for each call in order, one number, or one for each of its trained tokens. The
    rollout's own advantage becomes the mean over its tokens, or None if it has none.
    """
    everything = []
    for segment, values in zip(rollout.trajectory.sampled_segments(), calls, strict=True):
        assert segment.sampled is not None
        column = np.full(len(segment.token_ids), np.nan, np.float32)
        trained = segment.sampled.trained()
        column[trained] = values
        segment.sampled.columns["advantage"] = column.tolist()
        everything.append(column[trained])
    tokens = np.concatenate(everything) if everything else np.empty(0)
    rollout.advantage = float(tokens.mean()) if len(tokens) else None


def forget_token_advantages(groups: Sequence[RolloutGroup]) -> None:
    """Forget what `set_token_advantages` has set."""
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        for segment in rollout.trajectory.sampled_segments():
            assert segment.sampled is not None
            segment.sampled.columns.pop("advantage", None)


def whiten(values: Sequence[np.ndarray], epsilon: float = 1e-8) -> list[np.ndarray]:
    """Values less their mean over the square root of variance (Bessel) plus epsilon, over all."""
    everything = np.concatenate([np.empty(0), *values])
    if not len(everything):
        return list(values)
    variance = everything.var(ddof=1) if len(everything) > 1 else 0.0
    return [(part - everything.mean()) / np.sqrt(variance + epsilon) for part in values]
