"""DPPO: a trust region by how far probabilities have moved, not by their ratio.

    loss = -ratio * A, left out where A > 0 and pi - pi_old > delta, or A < 0 and pi - pi_old <
    -delta

A bound on the ratio silences rare tokens and lets frequent ones make large shifts; the total
variation does neither, and bears the sampler's noise best. arXiv:2602.04879 (binary TV).
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


@dataclass(frozen=True)
class TotalVariation(PolicyLoss):
    """Policy loss `dppo`."""

    name: ClassVar[str] = "dppo"

    delta: float = 0.2
    """How far a token's probability may move in its advantage's sense."""

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`: 1 where a token is left out."""
        shift_N = torch.exp(tokens.logprobs_N.detach()) - torch.exp(tokens.old_N)
        advantages_N = tokens.advantages_N
        left_N = torch.where(advantages_N > 0, shift_N, -shift_N) > self.delta
        loss_N = -ratio(tokens.logprobs_N, tokens.old_N) * advantages_N * ~left_N
        return loss_N, {"clip_fraction": left_N.to(loss_N.dtype)}


DPPO = AlgorithmType("dppo", "Noisy samplers; rare tokens that matter.", "grpo", "dppo")
