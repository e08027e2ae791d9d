"""The clipped surrogate of PPO, per token.

With ratio = pi(token) / pi_old(token) and advantage A,

    loss = -min(ratio * A, clip(ratio, 1 - clip_range_low, 1 + clip_range_high) * A)

and, where A < 0, at most -clip_ratio_c * A, so that one unlikely token of a bad rollout cannot
rule the step. Schulman et al., "Proximal Policy Optimization Algorithms", 2017 (arXiv:1707.06347);
two ranges: Yu et al., "DAPO", 2025 (arXiv:2503.14476); dual clip: Ye et al., 2019
(arXiv:1912.09729). `enable_sequence_masking` leaves out samples with A < 0 that have become
unlikely by more than `delta_sequence_masking` nats a token since they were sampled (DeepSeek-V3.2,
2025, arXiv:2512.02556).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Scope, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.errors import InputError

LARGEST_LOG_RATIO = 20.0


@dataclass(frozen=True)
class ClippedSurrogate(PolicyLoss):
    """Policy loss `ppo`. Raises InputError if a range is negative, or has no effect."""

    name: ClassVar[str] = "ppo"

    clip_range: float = 0.2
    """How far from 1 the ratio may go."""
    clip_range_low: float | None = None
    """How far below 1 the ratio may go; empty: `clip_range`."""
    clip_range_high: float | None = None
    """How far above 1 the ratio may go; empty: `clip_range`."""
    clip_ratio_c: float = 3.0
    """Where A < 0, the loss is at most this times -A; at least 1."""
    enable_sequence_masking: bool = False
    """Leave out bad samples that have become unlikely."""
    delta_sequence_masking: float = 0.1
    """How unlikely: mean of ln pi_old - ln pi, in nats."""
    fallback_to_policy_gradient: bool = False
    """Take the current policy for the old one: the plain gradient -A * grad ln pi."""

    def __post_init__(self) -> None:
        for name in ("clip_range", "clip_range_low", "clip_range_high"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"{name} is {value}; it must not be negative")
        if self.clip_ratio_c < 1:
            raise InputError(f"clip_ratio_c is {self.clip_ratio_c}; it must be at least 1")

    @property
    def scope(self) -> Scope:  # type: ignore[override]
        """A sample where samples are masked."""
        return "sequence" if self.enable_sequence_masking else "token"

    def prepare(self, batch: Batch) -> None:
        """Which samples are masked."""
        if self.enable_sequence_masking:
            drift_N = batch.mean(batch.columns["old"] - batch.columns["current"], batch.sample_N)
            bad_N = batch.columns["advantage"] < 0
            masked_N = bad_N & (drift_N > self.delta_sequence_masking)
            batch.columns["kept"] = (~masked_N).float()

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`: 1 where clipping took the gradient away."""
        low = self.clip_range if self.clip_range_low is None else self.clip_range_low
        high = self.clip_range if self.clip_range_high is None else self.clip_range_high
        old_N = tokens.logprobs_N.detach() if self.fallback_to_policy_gradient else tokens.old_N
        advantages_N = tokens.advantages_N
        ratio_N = ratio(tokens.logprobs_N, old_N)
        unclipped_N = -ratio_N * advantages_N
        loss_N = torch.maximum(unclipped_N, -ratio_N.clamp(1 - low, 1 + high) * advantages_N)
        most_N = -self.clip_ratio_c * advantages_N
        loss_N = torch.where(advantages_N < 0, torch.minimum(loss_N, most_N), loss_N)
        clipped_N = (loss_N != unclipped_N).to(ratio_N.dtype).detach()
        if (kept_N := tokens.columns.get("kept")) is not None:
            loss_N = loss_N * kept_N
        return loss_N, {"clip_fraction": clipped_N}


def ratio(logprobs_N: Tensor, old_N: Tensor) -> Tensor:
    """pi / pi_old per token, its logarithm bounded by 20."""
    return torch.exp((logprobs_N - old_N).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
