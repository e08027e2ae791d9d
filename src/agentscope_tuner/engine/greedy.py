"""A greedy rollout of each task beside its group, which says what the task is worth unexplored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from agentscope_tuner.algorithms.remax import GREEDY_REWARD
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.trajectory import Rollout, RolloutGroup


@dataclass(frozen=True, slots=True)
class WithGreedy:
    """Rollouts whose metrics have the reward of the greedy one of their task, as `greedy/reward`.

    Where that one failed they have none. Its tokens are not learnt from, and not recorded.
    """

    source: RolloutSource

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
        """See `RolloutSource`; one rollout more a task."""
        greedy = await self.source.rollout(
            tasks,
            group_size=1,
            label=f"{label}-greedy",
            seed=seed,
            sampling=replace(sampling, temperature=0.0),
            on_done=lambda rollout: None,
        )
        groups = await self.source.rollout(
            tasks,
            group_size=group_size,
            label=label,
            seed=seed,
            sampling=sampling,
            on_done=on_done,
        )
        rewards = {g.id.removeprefix(f"{label}-greedy"): g.rewards for g in greedy}
        for group in groups:
            for reward in rewards[group.id.removeprefix(label)]:
                for rollout in group.rollouts:
                    rollout.metrics[GREEDY_REWARD] = reward
        return groups

    def running(self) -> list[UnderWay]:
        """See `RolloutSource`."""
        return self.source.running()

    async def rest(self) -> None:
        """See `RolloutSource`."""
        await self.source.rest()

    async def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        """See `RolloutSource`."""
        await self.source.adopt(weights, version)

    async def close(self) -> None:
        """See `RolloutSource`."""
        await self.source.close()
