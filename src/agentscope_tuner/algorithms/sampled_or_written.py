"""Tokens that experts wrote down among those that the model sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from agentscope_tuner.trajectory import RolloutGroup


def without_experts(groups: Sequence[RolloutGroup]) -> list[RolloutGroup]:
    """The groups of rollouts; what experts wrote down is worth 1."""
    for rollout in (rollout for group in groups for rollout in group.rollouts if rollout.expert):
        rollout.advantage = 1.0
    return [group for group in groups if not any(rollout.expert for rollout in group.rollouts)]


def of_rollouts(
    values_N: Tensor, columns: Mapping[str, Tensor], *, otherwise: float = 0.0
) -> Tensor:
    """Values of tokens [N] where they were sampled, `otherwise` where an expert wrote them down."""
    expert_N = columns.get("expert")
    if expert_N is None:
        return values_N
    return torch.where(expert_N > 0, torch.full_like(values_N, otherwise), values_N)
