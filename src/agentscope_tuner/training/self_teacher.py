"""The learner as its own teacher: what it makes of its tokens behind another context."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.trajectory import Rollout, RolloutGroup

Hint = Callable[[Sequence[RolloutGroup]], Sequence[RolloutGroup]]
"""The same groups, whose rollouts have something more in front."""


class Learner(Protocol):
    """Knows ln p of tokens under the weights of now."""

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the column `current`."""
        ...


class SelfTeacher:
    """Fills columns with ln p of the same tokens under the learner's weights, behind a hint."""

    def __init__(self, learner: Learner, hint: Hint) -> None:
        self._learner = learner
        self._hint = hint

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns with ln p of every trained token."""
        taking_part = {rollout.id for _, rollout in batch.rollouts}

        def takes_part(rollout: Rollout) -> bool:
            return rollout.id in taking_part

        hinted = Batch(self._hint(batch.groups), takes_part, step=batch.step)
        self._learner.forward(hinted, {"current"})
        batch.columns |= {name: hinted.columns["current"] for name in columns}

    def release(self) -> None:
        """Nothing: the learner has its memory."""
