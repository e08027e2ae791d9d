"""Self-distillation: the model is its own teacher once it has seen how the task is solved.

    A_t = ln pi(token | a successful sibling, what came before) - ln pi(token | what came before)

The teacher is the model before the step, and reads a successful rollout of the same group in front
of the rollout that it judges: so one success in a group becomes a dense signal for all its tokens,
without a second model. A rollout without a successful sibling teaches nothing (A = 0). The weights
of tokens are min(ratio, 2), as `cispo` has them. Hübotter et al., SDPO, 2026 (arXiv:2601.20802).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from agentscope_tuner.algorithms.distill import OnPolicyDistill
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Segment, Trajectory


@dataclass(frozen=True)
class SelfDistill(OnPolicyDistill):
    """Advantages of `sdpo`."""

    name: ClassVar[str] = "sdpo"
    compares: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"self_teacher", "proximal"})
    teacher: ClassVar[str] = "self_teacher"

    success_threshold: float = 1.0
    """Rollouts with at least this reward are shown to the others of their group."""

    def hinted(self, groups: Sequence[RolloutGroup]) -> list[RolloutGroup]:
        """The groups with each rollout behind the best successful one of its siblings."""
        return [
            replace(group, rollouts=[self._behind_a_success(r, group) for r in group.rollouts])
            for group in groups
        ]

    def _behind_a_success(self, rollout: Rollout, group: RolloutGroup) -> Rollout:
        successes = [
            (sibling.reward, -number, sibling.trajectory)
            for number, sibling in enumerate(group.rollouts)
            if sibling is not rollout
            and sibling.reward is not None
            and sibling.reward >= self.success_threshold
            and sibling.trajectory.calls
        ]
        if not successes:
            return rollout
        _, _, shown = max(successes, key=lambda success: success[:2])
        hint = shown.token_ids(shown.calls[-1].segment)
        segments = [
            Segment(None, [*hint, *segment.token_ids], segment.sampled)
            if segment.parent is None
            else segment
            for segment in rollout.trajectory.segments
        ]
        return replace(rollout, trajectory=Trajectory(segments))


SDPO = AlgorithmType(
    "sdpo",
    "Groups with few successes, and no second model.",
    "sdpo",
    "cispo",
    policy_loss_fn_args={"clip_range_high": 1.0},
)
