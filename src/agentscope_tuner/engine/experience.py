"""Where the groups of a step come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.dynamic_timeout import DynamicTimeout
from agentscope_tuner.engine.over_rollout import OverRollout, unfinished
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.operators import Operators
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.sampling import Sampling
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
    over: OverRollout | None = None
    """Goes on without the slowest tasks; None: all are waited for."""
    timeout: DynamicTimeout | None = None
    """Limits a rollout's time; None: each attempt's deadline alone does."""

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
        if self.timeout is not None:
            self.timeout.drawn(groups)
        return groups

    async def _draw(self, tasks: Sequence[Task], label: str, seed: int) -> list[RolloutGroup]:
        sampling = self.sampling
        if self.timeout is not None:
            sampling = replace(sampling, within_s=self.timeout.limit_s)
        draw = partial(self.source.rollout, group_size=self.group_size, sampling=sampling)
        with self.record.progress("rollouts", len(tasks) * self.group_size) as on_done:
            if self.over is None:
                groups = await draw(tasks, label=label, seed=seed, on_done=on_done)
            else:

                async def draw_one(number: int, heard: Callable[[Rollout], None]) -> RolloutGroup:
                    def done(rollout: Rollout) -> None:
                        heard(rollout)
                        on_done(rollout)

                    own = derived_seed(seed, "task", number)
                    name = f"{label}-{number}"
                    [group] = await draw([tasks[number]], label=name, seed=own, on_done=done)
                    return group

                groups = await self.over.draw(tasks, label, self.group_size, draw_one)
        self.operators(groups)
        return groups

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Those of `rollout.metrics`, of the operators, and of what ends rollouts."""
        metrics = {**summarize(groups), **self.operators.metrics(groups)}
        if self.group_size > 1:
            metrics["group/single"] = float(sum(len(group.rewards) < 2 for group in groups))
        if self.over is not None:
            metrics["rollout/unfinished"] = float(unfinished(groups))
        if self.timeout is not None and (limit_s := self.timeout.limit_s) is not None:
            metrics["rollout/limit_seconds"] = limit_s
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """That of the operators and of the limit on time."""
        timeout = {} if self.timeout is None else {"timeout": self.timeout.state_dict()}
        return {"operators": self.operators.state_dict(), **timeout}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        if "operators" in state:
            self.operators.load_state_dict(state["operators"])
        if self.timeout is not None and "timeout" in state:
            self.timeout.load_state_dict(state["timeout"])


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
