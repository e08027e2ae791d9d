"""The plain importance-sampled policy gradient: loss = -ratio * A, with nothing clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.ppo import ratio


@dataclass(frozen=True)
class ImportanceSampling(PolicyLoss):
    """Policy loss `importance_sampling`."""

    name: ClassVar[str] = "importance_sampling"

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N]."""
        return -ratio(tokens.logprobs_N, tokens.old_N) * tokens.advantages_N, {}
