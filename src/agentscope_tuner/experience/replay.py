"""Learning from older rollouts again, where a step's own are fewer than it should learn from.

Groups stay whole, so that an advantage has what it compares. A group is drawn by older weights than
the step's own: what its rollouts were worth is computed anew, and their probabilities are the
recorded ones, so that the importance correction and the bound of the loss mean what they mean
elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agentscope_tuner.experience.base import is_learnt
from agentscope_tuner.experience.priorities import Priority
from agentscope_tuner.seeds import derived_seed
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Segment


@dataclass(slots=True)
class Replayed:
    """A group that may be learnt from again."""

    group: RolloutGroup
    sample: int
    """Which of the dataset's samples it is about."""
    version: int
    """The weights that drew it."""
    uses: int
    """How often it was learnt from."""
    used_at: float
    """When it was last, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What a buffer keeps, and gives."""

    priority: Priority
    samples: int
    """Model calls that a step learns from, with what is replayed."""
    capacity: int
    """The most rollouts that are kept; what has the lowest priority goes."""
    cooldown_s: float
    """Seconds between two uses of a group."""
    max_lag: int | None
    """Updates that a group may be old; None: any number."""
    seed: int


class Replay:
    """The groups that were learnt from."""

    def __init__(self, settings: ReplaySettings) -> None:
        self.settings = settings
        self.kept: list[Replayed] = []

    def fill(self, step: int, own: Sequence[RolloutGroup]) -> list[RolloutGroup]:
        """Groups that make up what the own ones of a step lack, the highest priority first."""
        lacking = self.settings.samples - sum(group.calls for group in own if is_learnt(group))
        now, chosen = time.time(), []
        for item in self._ranked(step):
            if lacking <= 0:
                break
            rested = now - item.used_at >= self.settings.cooldown_s
            lag, most = step - 1 - item.version, self.settings.max_lag
            if rested and (most is None or lag <= most):
                item.uses += 1
                item.used_at = now
                chosen.append(unlearnt(item.group))
                lacking -= item.group.calls
        return chosen

    def add(self, step: int, groups: Sequence[RolloutGroup], samples: Sequence[int]) -> None:
        """Keep the groups of a step, about these samples, now that they are learnt from."""
        for group, sample in zip(groups, samples, strict=True):
            if is_learnt(group) and (versions := _versions(group)):
                self.kept.append(Replayed(unlearnt(group), sample, min(versions), 1, time.time()))
        room = self.settings.capacity
        within = []
        for item in self._ranked(step):
            room -= len(item.group.rollouts)
            if room >= 0:
                within.append(item)
        self.kept = sorted(within, key=lambda item: (item.version, item.group.id))

    def _ranked(self, step: int) -> list[Replayed]:
        """What has a priority, the highest first, of equal ones the newest."""
        rng = np.random.default_rng(derived_seed(self.settings.seed, "replay", step))
        rated = [
            (self.settings.priority(item.version, item.uses, rng), number, item)
            for number, item in enumerate(self.kept)
        ]
        usable = [(rate, number, item) for rate, number, item in rated if rate is not None]
        return [item for _, _, item in sorted(usable, key=lambda one: one[:2], reverse=True)]


def replay_metrics(step: int, groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """How many groups step number `step` learns from again, and their mean age in updates."""
    ages = [step - 1 - version for group in groups for version in _versions(group)]
    age = {"replay/lag": float(np.mean(ages))} if ages else {}
    return {"replay/groups": float(len(groups)), **age}


def unlearnt(group: RolloutGroup) -> RolloutGroup:
    """The group as it was drawn: the original is in the record, which may be still writing it."""
    return replace(group, rollouts=[_unlearnt(rollout) for rollout in group.rollouts])


def _unlearnt(rollout: Rollout) -> Rollout:
    segments = [
        Segment(s.parent, s.token_ids, s.sampled and replace(s.sampled, columns={}))
        for s in rollout.trajectory.segments
    ]
    trajectory = replace(rollout.trajectory, segments=segments)
    return replace(rollout, trajectory=trajectory, advantage=None)


def _versions(group: RolloutGroup) -> list[int]:
    return [
        segment.sampled.version
        for rollout in group.rollouts
        for segment in rollout.trajectory.sampled_segments()
        if segment.sampled is not None
    ]
