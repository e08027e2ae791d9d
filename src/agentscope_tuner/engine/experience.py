"""Where the groups of a step come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.engine.base import RolloutSource, Sampling
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.operators import Operators
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.seeds import derived_seed
from agentscope_tuner.tasks import Samples, Task
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory

Reader = Callable[[Mapping[str, Any]], list[Rollout]]
"""A sample of the dataset as the rollouts of one group; InputError says what is wrong with it."""


def experts(sample: Mapping[str, Any], *trajectories: Trajectory) -> list[Rollout]:
    """What somebody wrote down for a sample, as the rollouts of one group."""
    return [Rollout("", dict(sample), t, expert=True) for t in trajectories]


@dataclass(frozen=True, slots=True)
class FromRollouts:
    """Rollouts of the step's tasks, as operators leave them."""

    source: RolloutSource
    record: RunRecord
    group_size: int
    seed: int
    sampling: Sampling
    operators: Operators

    async def collect(
        self, step: int, tasks: Sequence[Task], more: Callable[[int], Sequence[Task]]
    ) -> list[RolloutGroup]:
        """Run them all, and others in place of those that an operator wants replaced."""
        groups = await self._draw(tasks, f"step{step}", derived_seed(self.seed, "step", step))
        rounds = 0
        while missing := self.operators.missing(groups, len(tasks), rounds):
            rounds += 1
            seed = derived_seed(self.seed, "step", step, "more", rounds)
            groups += await self._draw(more(missing), f"step{step}-more{rounds}", seed)
        return groups

    async def _draw(self, tasks: Sequence[Task], label: str, seed: int) -> list[RolloutGroup]:
        with self.record.progress("rollouts", len(tasks) * self.group_size) as on_done:
            groups = await self.source.rollout(
                tasks,
                group_size=self.group_size,
                label=label,
                seed=seed,
                sampling=self.sampling,
                on_done=on_done,
            )
        self.operators(groups)
        return groups

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Those of `rollout.metrics`, and of the operators."""
        return {**summarize(groups), **self.operators.metrics(groups)}

    def state_dict(self) -> dict[str, Any]:
        """That of the operators."""
        return {"operators": self.operators.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        if "operators" in state:
            self.operators.load_state_dict(state["operators"])


@dataclass(frozen=True, slots=True)
class FromSamples:
    """What the step's samples hold, written down by somebody."""

    read: Reader

    async def collect(
        self, step: int, tasks: Sequence[Task], more: Callable[[int], Sequence[Task]]
    ) -> list[RolloutGroup]:
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

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""

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
