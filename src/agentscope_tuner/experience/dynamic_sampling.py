"""Groups that are all right or all wrong are not learnt from, and others are drawn in their place.

DAPO, section 3.2 (arXiv:2503.14476): 0 < |{correct}| < G. With the refill of the paper's algorithm
the step keeps its size, and with it the scale of its gradient; Trinity-RFT's operator lets it
shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.base import Operator, leave_out, statistic
from agentscope_tuner.trajectory import Rollout, RolloutGroup


@dataclass
class DynamicSampling(Operator):
    """Keep the groups of which some rollouts are correct and some are not.

    Failed rollouts count as neither; a group needs two others.
    """

    name: ClassVar[str] = "dapo_dynamic_sampling"

    metric_key: str = "accuracy"
    """The metric that says how right a rollout is; where it has none, its reward does."""
    correct_threshold: float = 0.0
    """A rollout is correct if that is more than this."""
    max_rounds: int = 10
    """How many times a step draws further tasks in place of the groups left out; 0: never."""

    def __post_init__(self) -> None:
        if self.max_rounds < 0:
            raise InputError(f"dapo_dynamic_sampling: max_rounds {self.max_rounds} is below 0.")
        self.replaces = self.max_rounds

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark the groups."""
        for group in groups:
            correct = [self._is_correct(r) for r in group.rollouts if r.reward is not None]
            if not any(correct) or all(correct):
                leave_out(self.name, group.rollouts)

    def _is_correct(self, rollout: Rollout) -> bool:
        score = statistic(rollout, self.metric_key)
        score = rollout.reward if score is None else score
        return score is not None and score > self.correct_threshold
