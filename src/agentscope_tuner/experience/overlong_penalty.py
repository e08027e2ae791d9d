"""Long answers cost: DAPO's soft overlong punishment (arXiv:2503.14476, equation 13).

    0                                          L <= Lmax - cache
    ((Lmax - cache) - L) / cache * factor      Lmax - cache < L <= Lmax
    -factor                                    Lmax < L

With L the tokens of the rollout's longest answer. Beside `mask_response_truncated`, which does not
learn from an answer that was cut off, it punishes what is not cut off yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.base import Operator, reward_of
from agentscope_tuner.trajectory import Rollout, RolloutGroup


@dataclass
class OverlongPenalty(Operator):
    """Add the punishment to the reward that is learnt."""

    name: ClassVar[str] = "overlong_penalty"

    max_response_length: int
    """Lmax: tokens from which on an answer is punished in full."""
    cache_length: int
    """Tokens before Lmax over which the punishment grows."""
    penalty_factor: float = 1.0
    """The largest punishment."""

    def __post_init__(self) -> None:
        if not 0 < self.cache_length <= self.max_response_length:
            raise InputError(
                f"overlong_penalty: cache_length {self.cache_length} should be at least 1 and at "
                f"most max_response_length {self.max_response_length}."
            )

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Shape the rewards."""
        for group in groups:
            for rollout in group.rollouts:
                if (reward := reward_of(rollout)) is not None:
                    rollout.shaped_reward = reward + self.punishment(longest_answer(rollout))

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """How many rollouts were punished."""
        rollouts = [r for group in groups for r in group.rollouts if r.reward is not None]
        punished = sum(self.punishment(longest_answer(r)) < 0 for r in rollouts)
        return {f"operator/{self.name}/punished": float(punished)}

    def punishment(self, length: int) -> float:
        """What so many tokens cost, at most 0."""
        over = length - (self.max_response_length - self.cache_length)
        return -self.penalty_factor * min(max(over / self.cache_length, 0.0), 1.0)


def longest_answer(rollout: Rollout) -> int:
    """Tokens of the longest thing that the model said."""
    segments = rollout.trajectory.sampled_segments()
    return max((len(segment.token_ids) for segment in segments), default=0)
