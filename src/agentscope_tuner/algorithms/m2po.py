"""M2PO: bound the second moment of the log-ratios instead of each ratio, for stale rollouts.

Among the tokens that have moved in their advantage's sense (A > 0 and ratio > 1, or A < 0 and
ratio < 1) those with the largest squared log-ratios are left out, until the mean square of the
rest is at most `tau`. All others are kept:

    loss = -ratio * A   on kept tokens, divided by all tokens

"Second-Moment Trust Policy Optimization", 2025 (arXiv:2510.01161).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.ppo import LARGEST_LOG_RATIO, ratio
from agentscope_tuner.algorithms.types import AlgorithmType


@dataclass(frozen=True)
class SecondMoment(PolicyLoss):
    """Policy loss `m2po`."""

    name: ClassVar[str] = "m2po"
    scope = "batch"

    tau: float = 0.04
    """Largest mean of the squared log-ratios that have moved as they were pushed."""

    def prepare(self, batch: Batch) -> None:
        """Which tokens are kept."""
        advantages_N = batch.columns["advantage"]
        log_ratio_N = (batch.columns["current"] - batch.columns["old"]).double()
        log_ratio_N = log_ratio_N.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
        moved = torch.nonzero(advantages_N * log_ratio_N > 0).flatten()
        squares, order = torch.sort(log_ratio_N[moved].square(), stable=True)
        means = squares.cumsum(0) / torch.arange(1, len(squares) + 1, dtype=torch.float64)
        kept = int((means <= self.tau).sum())  # the running mean of a sorted row never falls
        keep_N = torch.ones(len(batch))
        keep_N[moved[order[kept:]]] = 0.0
        batch.columns["kept"] = keep_N

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], and `clip_fraction`: 1 where a token is left out."""
        kept_N = tokens.columns["kept"]
        ratio_N = ratio(tokens.logprobs_N, tokens.old_N)
        return -ratio_N * tokens.advantages_N * kept_N, {"clip_fraction": 1 - kept_N}


M2PO = AlgorithmType("m2po", "Rollouts that are many versions old.", "grpo", "m2po")
