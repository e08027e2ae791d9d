"""SAPO: a soft trust region in place of clipping, narrower for bad tokens.

    loss = -(4 / tau) * sigmoid(tau * (ratio - 1)) * A,   tau = tau_pos where A > 0, else tau_neg

whose gradient is ratio * A at ratio 1 and fades on both sides. "Soft Adaptive Policy
Optimization", 2025 (arXiv:2511.20347).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.ppo import ratio
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError


@dataclass(frozen=True)
class SoftGate(PolicyLoss):
    """Policy loss `sapo`. Raises InputError if a temperature is not positive."""

    name: ClassVar[str] = "sapo"

    tau_pos: float = 1.0
    """Steepness of the gate where A > 0."""
    tau_neg: float = 1.05
    """Steepness of the gate elsewhere."""

    def __post_init__(self) -> None:
        if self.tau_pos <= 0 or self.tau_neg <= 0:
            raise InputError("tau_pos and tau_neg must be positive")

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N]."""
        advantages_N = tokens.advantages_N
        ratio_N = ratio(tokens.logprobs_N, tokens.old_N)
        tau_N = torch.where(advantages_N > 0, self.tau_pos, self.tau_neg)
        gate_N = torch.sigmoid(tau_N * (ratio_N - 1)) * 4 / tau_N
        return -gate_N * advantages_N, {}


SAPO = AlgorithmType(
    "sapo",
    "A gentler grpo for unstable runs.",
    "grpo",
    "sapo",
    loss_agg_mode="seq-mean-token-mean",
)
