"""Rollouts that were cut off are not learnt from: DAPO's overlong filtering (section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.experience.base import Operator, leave_out
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class MaskTruncated(Operator):
    """Nobody knows what a rollout would have been worth that a length limit cut off or that had no
    room for a call. Its reward stays in its group's statistics."""

    name: ClassVar[str] = "mask_response_truncated"

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark them."""
        for group in groups:
            leave_out(self.name, [r for r in group.rollouts if r.trajectory.truncated])
