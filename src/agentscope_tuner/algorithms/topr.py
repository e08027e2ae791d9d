"""TOPR: good answers are learnt as in imitation, bad ones fade as they become unlikely.

    loss = -sg(a) * R * ln pi(token);   a = 1 where R > advantage_threshold, else clip(pi / mu, 0,
    1)

Le Roux et al., "Tapered Off-Policy REINFORCE", 2025 (arXiv:2503.14286). The ratio is that of the
whole sample, as in the paper; `ratio_level: token` takes each token's own. Rewards of 0 have no
gradient: use +-1, or an advantage that is centred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Scope, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError


@dataclass(frozen=True)
class Tapered(PolicyLoss):
    """Policy loss `topr`. Raises InputError for an unknown level."""

    name: ClassVar[str] = "topr"

    advantage_threshold: float = 0.0
    """Samples whose advantage is above this are learnt in full."""
    ratio_level: Literal["sequence", "token"] = "sequence"
    """Whose ratio tapers the others."""

    def __post_init__(self) -> None:
        if self.ratio_level not in ("sequence", "token"):
            raise InputError(f"ratio_level is {self.ratio_level!r}; it must be sequence or token")

    @property
    def scope(self) -> Scope:  # type: ignore[override]
        """As the ratio's."""
        return "sequence" if self.ratio_level == "sequence" else "token"

    def prepare(self, batch: Batch) -> None:
        """The samples' log-ratios."""
        if self.ratio_level == "sequence":
            log_ratio_N = batch.columns["current"] - batch.columns["old"]
            batch.columns["log_ratio"] = batch.sum(log_ratio_N, batch.sample_N).float()

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N]."""
        log_ratio_N = tokens.columns.get("log_ratio", tokens.logprobs_N.detach() - tokens.old_N)
        tapered_N = torch.exp(log_ratio_N.clamp(max=0.0))
        advantages_N = tokens.advantages_N
        weight_N = torch.where(advantages_N > self.advantage_threshold, 1.0, tapered_N)
        return -weight_N * advantages_N * tokens.logprobs_N, {}


TOPR = AlgorithmType("topr", "Off-policy rollouts with many failures.", "reinforce", "topr")
