"""Demonstrations: conversations whose marked tokens a model is to imitate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One demonstration. Raises ValueError if the two lists differ in length."""

    token_ids: list[int]
    loss_mask: list[bool]
    """True where the token is to be imitated (the assistant's), one a token."""

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.loss_mask):
            raise ValueError(
                f"{len(self.token_ids)} token ids but {len(self.loss_mask)} loss mask entries"
            )

    def trajectory(self) -> Trajectory:
        """The sample as a chain of segments, its imitated tokens in place of sampled ones."""
        segments: list[Segment] = []
        entries = zip(self.token_ids, self.loss_mask, strict=True)
        for imitated, run in groupby(entries, key=lambda entry: entry[1]):
            ids = [token for token, _ in run]
            known = [0.0] * len(ids)
            sampled = Sampled(known, [False] * len(ids), model="", version=0) if imitated else None
            segments.append(Segment(len(segments) - 1 if segments else None, ids, sampled))
        return Trajectory(segments)


def as_group(samples: Sequence[TrainingSample]) -> RolloutGroup:
    """Demonstrations in the form that a learner takes; prompts they share are computed once."""
    rollouts = [
        Rollout(id=f"sample-{i}", task={}, trajectory=sample.trajectory(), advantage=1.0)
        for i, sample in enumerate(samples)
    ]
    return RolloutGroup(id="samples", task={}, rollouts=rollouts)
