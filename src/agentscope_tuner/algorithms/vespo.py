"""VESPO: a smooth weight of the whole sample in place of clipping, for stale rollouts.

    loss = -phi(w) * A * ln pi,   phi(w) = e^lam * w^k * e^(-lam * w)

with w the product of pi / pi_old over the sample's tokens; phi is 1 at w = 1 and falls to 0 on both
sides, faster above for A >= 0 and below for A < 0. Shen et al., 2026 (arXiv:2602.10693).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError


@dataclass(frozen=True)
class SmoothSample(PolicyLoss):
    """Policy loss `vespo`. Raises InputError for a value that is not positive."""

    name: ClassVar[str] = "vespo"
    scope = "sequence"

    k_pos: float = 2.0
    """k where A >= 0."""
    lam_pos: float = 3.0
    """lam where A >= 0."""
    k_neg: float = 3.0
    """k where A < 0."""
    lam_neg: float = 2.0
    """lam where A < 0."""

    def __post_init__(self) -> None:
        for name in ("k_pos", "lam_pos", "k_neg", "lam_neg"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")

    def prepare(self, batch: Batch) -> None:
        """The samples' weights."""
        log_ratio_N = batch.columns["current"] - batch.columns["old"]
        log_w_N = batch.sum(log_ratio_N, batch.sample_N)
        good_N = batch.columns["advantage"] >= 0
        k_N = torch.where(good_N, self.k_pos, self.k_neg)
        lam_N = torch.where(good_N, self.lam_pos, self.lam_neg)
        # w itself may be beyond all numbers, where phi is 0.
        log_phi_N = lam_N + k_N * log_w_N - lam_N * log_w_N.clamp(max=50).exp()
        batch.columns["sample_weight"] = log_phi_N.exp().float()

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N]."""
        weight_N = tokens.columns["sample_weight"]
        return -weight_N * tokens.advantages_N * tokens.logprobs_N, {}


VESPO = AlgorithmType("vespo", "Rollouts of older weights, without a clip range.", "grpo", "vespo")
