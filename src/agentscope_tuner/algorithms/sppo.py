"""SPPO: descend on the log-ratio itself, inside a trust region.

    loss = -A * (ln pi - ln pi_old)   where 1 / (1 + epsilon) <= ratio <= 1 + epsilon, else 0

"Simple Policy Optimization" form of arXiv:2108.05828 as Trinity-RFT names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.ppo import ratio
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError


@dataclass(frozen=True)
class LogRatio(PolicyLoss):
    """Policy loss `sppo`. Raises InputError if epsilon is not positive."""

    name: ClassVar[str] = "sppo"

    epsilon: float = 0.3
    """Width of the trust region."""

    def __post_init__(self) -> None:
        if self.epsilon <= 0:
            raise InputError(f"epsilon is {self.epsilon}; it must be positive")

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`: 1 outside the region."""
        log_ratio_N = tokens.logprobs_N - tokens.old_N
        ratio_N = ratio(tokens.logprobs_N.detach(), tokens.old_N)
        inside_N = (ratio_N >= 1 / (1 + self.epsilon)) & (ratio_N <= 1 + self.epsilon)
        loss_N = -tokens.advantages_N * log_ratio_N * inside_N
        return loss_N, {"clip_fraction": (~inside_N).to(loss_N.dtype)}


SPPO = AlgorithmType("sppo", "Log-ratios in a trust region.", "opmd", "sppo")
