"""Advantages of the family of group-relative REINFORCE (arXiv:2509.24203): see `rec`.

    advantage_i = r_i - mean(r), optionally over the population's deviation

`drop: balance` leaves out random rollouts below the mean until there are no more of them than
others; mean and deviation are then those of the rest.
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
        dropped: set[int] = set()
        if self.drop == "balance":
            bad = [i for i, reward in enumerate(rewards) if reward < mean(rewards)]
            surplus = max(2 * len(bad) - len(rewards), 0)
            dropped.update(random.Random(rollouts[0].id).sample(bad, surplus))
        kept = [reward for i, reward in enumerate(rewards) if i not in dropped]
        center = mean(kept)
        scale = pstdev(kept) + 1e-6 if self.std_normalize else 1.0
        return [0.0 if i in dropped else (r - center) / scale for i, r in enumerate(rewards)]
