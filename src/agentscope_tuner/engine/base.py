"""What the loop asks of an engine, wherever its sampler and learner live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an evaluation samples; None keeps what the model's configuration says."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


class Engine(Protocol):
    """Rolls out, learns, and hands the new weights from the learner to the sampler."""

    async def rollout(
        self,
        tasks: Sequence[dict[str, Any]],
        *,
        group_size: int,
        label: str,
        seed: int,
        sampling: Sampling,
        on_done: Callable[[Rollout], None],
    ) -> list[RolloutGroup]:
        """Run `group_size` rollouts of each task, all concurrently; failures are in the groups.

        `label` names the rollouts; the same label, seed and weights repeat the same draws.
        """
        ...

    def demonstrate(self, sample: Mapping[str, Any]) -> Trajectory:
        """The conversation in `sample`, as if the model had said the assistant's part.

        Raises InputError if it is none, or none that the model can take.
        """
        ...

    async def update(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Learn from rollouts whose advantages are set; returns the learner's metrics."""
        ...

    async def hand_over(self, version: int) -> None:
        """Give the learner's weights to the sampler, as this version."""
        ...

    def save(self, directory: Path) -> None:
        """Write a complete Hugging Face model directory; `tuner_state/` inside is for resuming."""
        ...

    async def close(self) -> None:
        """End all work and give the memory back."""
        ...
