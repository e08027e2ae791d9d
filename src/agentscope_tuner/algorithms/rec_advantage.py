"""Advantages of the family of group-relative REINFORCE (arXiv:2509.24203): see `rec`.

    advantage_i = r_i - mean(r), optionally over the population's deviation

`drop: balance` takes the advantage from random bad rollouts until there are no more of them than
good ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import ClassVar

from agentscope_tuner.algorithms.advantage import GroupAdvantage, rewards_of
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout


@dataclass(frozen=True)
class RecAdvantage(GroupAdvantage):
    """Advantages of `rec`."""

    name: ClassVar[str] = "rec"

    std_normalize: bool = False
    """Divide by the group's population deviation plus 1e-6."""
    drop: str | None = None
    """`balance`: no more bad rollouts than good ones have an advantage."""

    def __post_init__(self) -> None:
        if self.drop not in (None, "balance"):
            raise InputError(f"drop is {self.drop!r}; it must be balance, or left out")

    def scores(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """See the module."""
        rewards = rewards_of(rollouts)
        center = mean(rewards)
        scale = pstdev(rewards) + 1e-6 if self.std_normalize else 1.0
        scores = [(reward - center) / scale for reward in rewards]
        bad = [i for i, score in enumerate(scores) if score < 0]
        surplus = len(bad) - sum(score > 0 for score in scores)
        if self.drop == "balance" and surplus > 0:
            for i in random.Random(rollouts[0].id).sample(bad, surplus):
                scores[i] = 0.0
        return scores
