"""GSPO: one ratio for a whole answer, the geometric mean of its tokens' ratios.

    s_i = exp(mean over the trained tokens of sample i of ln pi - ln pi_old)
    loss = -min(s_i * A, clip(s_i, 1 - clip_range_low, 1 + clip_range_high) * A)

as the mean over samples of means over tokens. Zheng et al., "Group Sequence Policy Optimization",
2025 (arXiv:2507.18071). A sample is one model call. The ranges of 3e-4 suppose an exact pi_old:
where sampler and learner differ by more, correct for that (`importance_correction`), or every
sample is clipped.
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

LARGEST_LOG_RATIO = 10.0


@dataclass(frozen=True)
class SequenceSurrogate(PolicyLoss):
    """Policy loss `gspo`."""

    name: ClassVar[str] = "gspo"
    scope = "sequence"

    clip_range_low: float = 3e-4
    """How far below 1 the ratio of a sample may go."""
    clip_range_high: float = 4e-4
    """How far above 1 the ratio of a sample may go."""

    def prepare(self, batch: Batch) -> None:
        """The samples' ratios."""
        log_ratio_N = batch.columns["current"] - batch.columns["old"]
        mean_N = batch.mean(log_ratio_N, batch.sample_N).clamp(max=LARGEST_LOG_RATIO)
        batch.columns["sequence_ratio"] = torch.exp(mean_N).float()

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`."""
        advantages_N, logprobs_N = tokens.advantages_N, tokens.logprobs_N
        # The sample's ratio in value, and in its gradient by this token.
        ratio_N = tokens.columns["sequence_ratio"] * torch.exp(logprobs_N - logprobs_N.detach())
        clipped_N = ratio_N.clamp(1 - self.clip_range_low, 1 + self.clip_range_high)
        loss_N = torch.maximum(-ratio_N * advantages_N, -clipped_N * advantages_N)
        is_clipped_N = (loss_N != -ratio_N * advantages_N).to(ratio_N.dtype).detach()
        return loss_N, {"clip_fraction": is_clipped_N}


GSPO = AlgorithmType(
    "gspo",
    "Mixtures of experts, long answers, several updates a batch.",
    "grpo",
    "gspo",
    loss_agg_mode="seq-mean-token-mean",
)
