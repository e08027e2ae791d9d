"""CISPO: the ratio is clipped and detached, so that every token keeps a gradient.

    loss = -sg(clip(ratio, 1 - clip_range_low, 1 + clip_range_high)) * A * ln pi(token)

MiniMax-M1, 2025 (arXiv:2506.13585). The ranges are offsets from 1, as everywhere here; elsewhere
one of the same name is an absolute bound. `enable_mask_clip` drops tokens outside a second window
as PPO does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.ppo import ratio
from agentscope_tuner.algorithms.types import AlgorithmType


@dataclass(frozen=True)
class ClippedWeight(PolicyLoss):
    """Policy loss `cispo`."""

    name: ClassVar[str] = "cispo"

    clip_range_low: float = 1.0
    """How far below 1 a token's weight may go."""
    clip_range_high: float = 0.28
    """How far above 1 a token's weight may go."""
    enable_mask_clip: bool = False
    """Leave out tokens that have moved out of the mask's ranges in their advantage's sense."""
    mask_clip_range_low: float = 1.0
    """How far below 1 the ratio of a token with A < 0 may go."""
    mask_clip_range_high: float = 0.28
    """How far above 1 the ratio of a token with A > 0 may go."""

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`: 1 where the weight was clipped."""
        advantages_N = tokens.advantages_N
        ratio_N = ratio(tokens.logprobs_N.detach(), tokens.old_N)
        weight_N = ratio_N.clamp(1 - self.clip_range_low, 1 + self.clip_range_high)
        clipped_N = (weight_N != ratio_N).to(ratio_N.dtype)
        if self.enable_mask_clip:
            left_N = (advantages_N > 0) & (ratio_N > 1 + self.mask_clip_range_high)
            left_N |= (advantages_N < 0) & (ratio_N < 1 - self.mask_clip_range_low)
            weight_N = weight_N * ~left_N
        return -weight_N * advantages_N * tokens.logprobs_N, {"clip_fraction": clipped_N}


CISPO = AlgorithmType(
    "cispo", "Several updates a batch; rare tokens keep learning.", "grpo", "cispo"
)
