"""The clipped surrogate of PPO, per token.

With ratio = pi(token) / pi_old(token) and advantage A,

    loss = -min(ratio * A, clip(ratio, 1 - clip_range_low, 1 + clip_range_high) * A)

Schulman et al., "Proximal Policy Optimization Algorithms", 2017 (arXiv:1707.06347); two separate
ranges as in Yu et al., "DAPO", 2025 (arXiv:2503.14476).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agentscope_tuner.errors import InputError


@dataclass(frozen=True, slots=True)
class ClippedSurrogate:
    """Policy loss `ppo`. Raises InputError if a range is negative."""

    clip_range: float = 0.2
    clip_range_low: float | None = None
    """How far below 1 the ratio may go; None: `clip_range`."""
    clip_range_high: float | None = None
    """How far above 1 the ratio may go; None: `clip_range`."""

    def __post_init__(self) -> None:
        for name in ("clip_range", "clip_range_low", "clip_range_high"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"{name} is {value}; it must not be negative")

    def __call__(
        self, logprobs_N: Tensor, old_logprobs_N: Tensor, advantages_N: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss per token [N], and `clip_fraction`: 1 where clipping took the gradient away."""
        low = self.clip_range if self.clip_range_low is None else self.clip_range_low
        high = self.clip_range if self.clip_range_high is None else self.clip_range_high
        ratio_N = torch.exp(logprobs_N - old_logprobs_N)
        unclipped_N = -ratio_N * advantages_N
        clipped_N = -ratio_N.clamp(1 - low, 1 + high) * advantages_N
        clip_fraction_N = (clipped_N > unclipped_N).to(ratio_N.dtype)
        return torch.maximum(unclipped_N, clipped_N), {"clip_fraction": clip_fraction_N}
