"""Where the groups of a step come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.engine.base import RolloutSource, Sampling
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.seeds import derived_seed
from agentscope_tuner.tasks import Samples
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory

Reader = Callable[[Mapping[str, Any]], list[Rollout]]
"""A sample of the dataset as the rollouts of one group; InputError says what is wrong with it."""


def experts(sample: Mapping[str, Any], *trajectories: Trajectory) -> list[Rollout]:
    """What somebody wrote down for a sample, as the rollouts of one group."""
    return [Rollout("", dict(sample), t, expert=True) for t in trajectories]


@dataclass(frozen=True, slots=True)
class FromRollouts:
    """Rollouts of the step's tasks."""

    source: RolloutSource
    record: RunRecord
    group_size: int
    seed: int
    sampling: Sampling

    async def collect(self, step: int, tasks: Sequence[dict[str, Any]]) -> list[RolloutGroup]:
        """Run them all."""
        with self.record.progress("rollouts", len(tasks) * self.group_size) as on_done:
            return await self.source.rollout(
                tasks,
                group_size=self.group_size,
                label=f"step{step}",
                seed=derived_seed(self.seed, "step", step),
                sampling=self.sampling,
                on_done=on_done,
            )

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Those of `rollout.metrics`."""
        return summarize(groups)


@dataclass(frozen=True, slots=True)
class FromSamples:
    """What the step's samples hold, written down by somebody."""

    read: Reader

    async def collect(self, step: int, tasks: Sequence[dict[str, Any]]) -> list[RolloutGroup]:
        """Read them."""
        groups = []
        for number, task in enumerate(tasks):
            rollouts = self.read(task)
            for index, rollout in enumerate(rollouts):
                rollout.id = f"step{step}-{number}-{index}"
            groups.append(RolloutGroup(f"step{step}-{number}", task, rollouts))
        return groups

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """None: nothing was rolled out."""
        return {}

    def refuse_bad(self, samples: Samples, what: str = "the dataset") -> None:
        """Raise InputError, which names it by its index, for the first that cannot be learnt
        from."""
        for index in range(len(samples)):
            try:
                self.read(samples[index])
            except InputError as error:
                raise InputError(
                    f"Sample {index} of {what} cannot be learnt from: {error}"
                ) from error
