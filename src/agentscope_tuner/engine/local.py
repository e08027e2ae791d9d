"""Rollouts on one machine: the sampler shares the process, and weights stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import torch

from agentscope_tuner.chat.remote import RemoteModel
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.config.explorer import Explorer
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.trajectory import Rollout, RolloutGroup
from agentscope_tuner.workflow import JudgeType, WorkflowType


class LocalRollouts:
    """Samples in this process: a model behind the chat service, and the runner of workflows."""

    def __init__(
        self,
        policy: ServedModel,
        auxiliary: Mapping[str, ServedModel | RemoteModel],
        explorer: Explorer,
        workflow_func: WorkflowType | None,
        judge_func: JudgeType | None,
    ) -> None:
        """`policy` is the model that is tuned; without a `workflow_func` nothing can be run."""
        self.policy = policy
        self.service = ChatService(policy, auxiliary)
        self.samplers = AsyncExitStack()
        """Closes the samplers of all these models."""
        self._runner = workflow_func and RolloutRunner(
            self.service,
            workflow_func,
            judge_func,
            timeout_s=explorer.max_timeout,
            max_retries=explorer.max_retry_times,
            max_concurrent=explorer.runner_per_model or 1 << 30,
        )

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
        """See `RolloutSource.rollout`."""
        assert self._runner is not None, "without a workflow there is nothing to roll out"
        return await self._runner.run_groups(
            tasks,
            group_size,
            label=label,
            seed=seed,
            sampling=sampling,
            on_done=on_done,
        )

    async def run_one(
        self,
        task: dict[str, Any],
        group: int,
        index: int,
        *,
        label: str,
        seed: int,
        sampling: Sampling,
    ) -> Rollout:
        """One of the rollouts that `rollout` would run, for a source that spreads them."""
        assert self._runner is not None, "without a workflow there is nothing to roll out"
        return await self._runner.run_one(
            task,
            group,
            index,
            label=label,
            seed=seed,
            sampling=sampling,
        )

    def running(self) -> list[UnderWay]:
        """See `RolloutSource.running`."""
        return self._runner.running.now() if self._runner is not None else []

    async def rest(self) -> None:
        """See `RolloutSource.rest`."""
        await self.policy.sampler.rest()

    async def adopt(self, weights: Mapping[str, torch.Tensor], version: int) -> None:
        """See `RolloutSource.adopt`."""
        await self.policy.sampler.load_weights(weights, version)

    async def close(self) -> None:
        """Stop listening, if an agent asked for a URL, and end the samplers."""
        await self.service.close()
        await self.samplers.aclose()
