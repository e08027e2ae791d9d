"""Recorded rollouts under another judge: the two beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from agentscope_tuner.rollout.estimate import Estimate
from agentscope_tuner.runs.estimates import clustered
from agentscope_tuner.trajectory import RolloutError

MAX_MOVED = 60
MAX_ANSWER = 400
"""Characters."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One rollout, and what the two judges make of it."""

    id: str
    step: int
    group: str
    task: int
    """Its digest, as a number."""
    about: str
    """How the task's text begins."""
    answer: str
    """The beginning of what was answered."""
    before: float
    """The recorded reward."""
    after: float | None
    """The other judge's; None: it failed."""
    explanation: str
    """The other judge's."""
    error: RolloutError | None

    @property
    def change(self) -> float:
        """From the one reward to the other; 0 if the other judge failed."""
        return 0.0 if self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class Rescored:
    """All of them."""

    rollouts: Sequence[Rejudged]
    without_reward: int
    """Recorded rollouts that had failed: left out."""
    as_text: int
    """Rollouts whose response is only known as text, which the judge was given as a message."""

    @property
    def failures(self) -> Counter[str]:
        """Rollouts that the other judge failed on, by kind."""
        return Counter(str(one.error.kind) for one in self.rollouts if one.error is not None)

    @property
    def both(self) -> list[Rejudged]:
        """Those that both judges gave a reward."""
        return [one for one in self.rollouts if one.after is not None]

    def reward(self, which: str) -> Estimate:
        """The mean `before` or `after`, of those with both, its error by task."""
        rewards = np.array([getattr(one, which) for one in self.both], float)
        return clustered(rewards, np.array([one.task for one in self.both], np.int64))

    def teaching(self, which: str) -> int:
        """Groups with two different rewards `before`, or `after`: only from these a run learns."""
        rewards: dict[str, set[float]] = {}
        for one in self.both:
            rewards.setdefault(one.group, set()).add(getattr(one, which))
        return sum(len(different) > 1 for different in rewards.values())

    @property
    def groups(self) -> int:
        """How many groups have a rollout that both judges gave a reward."""
        return len({one.group for one in self.both})

    @property
    def spearman(self) -> float:
        """Correlation of the ranks of all rewards; NaN if either judge says one thing only."""
        before, after = self._rewards()
        if len(before) < 2 or np.ptp(before) == 0 or np.ptp(after) == 0:
            return nan
        ranks = [pandas.Series(rewards).rank() for rewards in (before, after)]
        return float(ranks[0].corr(ranks[1]))

    @property
    def kendall_in_groups(self) -> float:
        """Kendall's tau-b over the pairs of rollouts of one group: 1 if both judges order each
        group alike, -1 if the other way round; NaN if either tells no pair apart."""
        before, after = self._rewards()
        groups = np.unique([one.group for one in self.both], return_inverse=True)[1]
        dot = ours = theirs = 0.0
        for group in range(int(groups.max(initial=-1)) + 1):
            a, b = (_signs(rewards[groups == group]) for rewards in (before, after))
            dot, ours, theirs = dot + (a * b).sum(), ours + (a * a).sum(), theirs + (b * b).sum()
        return float(dot / np.sqrt(ours * theirs)) if ours and theirs else nan

    @property
    def moved(self) -> list[Rejudged]:
        """Those with another reward, the largest changes first."""
        changed = [one for one in self.rollouts if one.change]
        return sorted(changed, key=lambda one: -abs(one.change))

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        judges = {
            which: {**asdict(self.reward(which)), "teaching": self.teaching(which)}
            for which in ("before", "after")
        }
        return {
            "rollouts": len(self.rollouts),
            "both": len(self.both),
            "groups": self.groups,
            **judges,
            "failures": dict(self.failures),
            "without_reward": self.without_reward,
            "as_text": self.as_text,
            "spearman": self.spearman,
            "kendall_in_groups": self.kendall_in_groups,
            "moved": [_plain(one) for one in self.moved[:MAX_MOVED]],
        }

    def _rewards(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pairs = [(one.before, one.after) for one in self.both]
        before, after = np.array(pairs, float).reshape(-1, 2).T
        return before, after


def _signs(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(rewards[:, None] - rewards[None, :])


def _plain(one: Rejudged) -> dict[str, Any]:
    return {**asdict(one), "task": f"{one.task:012x}"}
