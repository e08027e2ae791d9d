"""DPO: of two written answers to one prompt the chosen one becomes likelier than the rejected one.

    Delta = ln pi(chosen) - ln ref(chosen) - (ln pi(rejected) - ln ref(rejected)), sums over tokens
    loss  = -(1 - label_smoothing) ln sigmoid(beta Delta) - label_smoothing ln sigmoid(-beta Delta)

as the mean over pairs. Its gradient by the ln pi of each token of the chosen answer is -c, of the
rejected one +c, with c = beta ((1 - label_smoothing) sigmoid(-beta Delta) - label_smoothing
sigmoid(beta Delta)): known once the whole pair is, so the loss is one of tokens again. Rafailov et
al., 2023 (arXiv:2305.18290).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True)
class Preference(Advantage):
    """Advantage `preference`: 1 for the first of each pair, the chosen one, -1 for the other."""

    name: ClassVar[str] = "preference"

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set them."""
        for group in groups:
            chosen, rejected = group.rollouts
            chosen.advantage, rejected.advantage = 1.0, -1.0


@dataclass(frozen=True)
class DirectPreference(PolicyLoss):
    """Policy loss `dpo`. Raises InputError for a value that makes no sense."""

    name: ClassVar[str] = "dpo"
    scope = "pair"
    needs_reference: ClassVar[bool] = True
    weighs_tokens: ClassVar[bool] = True

    beta: float = 0.1
    """How near the model stays to the reference: larger is nearer."""
    label_smoothing: float = 0.0
    """Share of the pairs that are supposed to be the wrong way round."""

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise InputError(f"beta is {self.beta}; it must be positive")
        if not 0 <= self.label_smoothing < 0.5:
            raise InputError(f"label_smoothing is {self.label_smoothing}; it must be below 0.5")

    def prepare(self, batch: Batch) -> None:
        """The pairs' margins, and one pair's share for each of its tokens."""
        columns, pair_N = batch.columns, batch.group_N
        pairs = max(len(pair_N.unique()), 1)
        columns["weight"] = torch.full((len(batch),), 1.0 / pairs)
        gain_N = columns["advantage"] * (columns["current"] - columns["reference"])
        columns["margin"] = (self.beta * batch.sum(gain_N, pair_N)).float()
        columns["pair_tokens"] = batch.sum(torch.ones(len(batch)), pair_N).float()

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N]: its gradient is the pair's, its sum over the pair the pair's loss."""
        margin_N, smoothing = tokens.columns["margin"], self.label_smoothing
        right_N, wrong_N = torch.sigmoid(-margin_N), torch.sigmoid(margin_N)
        c_N = self.beta * ((1 - smoothing) * right_N - smoothing * wrong_N)
        pair_N = -(1 - smoothing) * logsigmoid(margin_N) - smoothing * logsigmoid(-margin_N)
        moved_N = tokens.logprobs_N - tokens.logprobs_N.detach()
        loss_N = pair_N / tokens.columns["pair_tokens"] - tokens.advantages_N * c_N * moved_N
        return loss_N, {"margin": margin_N, "preferred_fraction": (margin_N > 0).float()}


DPO = AlgorithmType(
    "dpo", "Pairs of a better and a worse answer.", "preference", "dpo", data="pairs"
)
