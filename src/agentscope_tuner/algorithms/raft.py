"""RAFT: sample several answers, keep the best one of each task, imitate it.

Dong et al., "RAFT: Reward rAnked FineTuning", 2023 (arXiv:2304.06767). Of equally good rollouts
the first is kept; a group none of whose rollouts reaches `threshold` teaches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True)
class BestOfGroup(Advantage):
    """Advantage `best`: 1 for the best rollout of each group."""

    name: ClassVar[str] = "best"
    compares: ClassVar[bool] = True

    threshold: float = 0.0
    """The best rollout is imitated if its reward is above this."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set 1 or None."""
        for group in groups:
            best = max(group.rewards, default=None)
            for rollout in group.rollouts:
                is_best = best is not None and best > self.threshold and rollout.reward == best
                rollout.advantage = 1.0 if is_best else None
                best = None if is_best else best


RAFT = AlgorithmType("raft", "Imitate the best of several rollouts of each task.", "best", "sft")
