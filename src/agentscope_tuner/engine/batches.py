"""The batch of a step, and where its groups come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentscope_tuner.tasks import Task
from agentscope_tuner.trajectory import RolloutGroup


class Experience(Protocol):
    """Where the groups of a step come from: rollouts of its tasks, or what the tasks hold."""

    async def collect(
        self, step: int, tasks: Sequence[Task], more: Callable[[int], Sequence[Task]]
    ) -> list[RolloutGroup]:
        """The groups of step number `step`, one a task; `more` gives so many further tasks, whose
        groups come after."""
        ...

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """What is to be logged of them."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from step to step, as plain data."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        ...


@dataclass(slots=True)
class StepBatch:
    """The tasks of a step, and what came of them."""

    step: int
    indices: list[int]
    """The samples that its tasks are."""
    groups: list[RolloutGroup] = field(default_factory=list)
    seconds: float = 0.0
    """What drawing them took."""
    replayed: list[RolloutGroup] = field(default_factory=list)
    """Older groups that the step learns from too."""


def mean_reward(group: RolloutGroup) -> float | None:
    """Over the rollouts that have a reward; None if none has."""
    rewards = group.rewards
    return sum(rewards) / len(rewards) if rewards else None
