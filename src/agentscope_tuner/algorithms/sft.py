"""Supervised fine-tuning: loss = -ln pi(token) on the demonstrated tokens, no rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from agentscope_tuner.algorithms.base import TokenBatch
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True, slots=True)
class SupervisedFineTuning:
    """Imitates demonstrations token by token."""

    name: str = "sft"
    group_based: bool = False
    supervised: bool = True
    needs_reference: bool = False
    learns_without_advantage: bool = True
    needs_proximal: bool = False

    def advantages(self, groups: Sequence[RolloutGroup]) -> list[list[float | None]]:
        """1 for every rollout: a demonstration is worth imitating as it is."""
        return [[1.0] * len(group.rollouts) for group in groups]

    def loss(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood per token [N]."""
        return -batch.logprobs_N, {}
