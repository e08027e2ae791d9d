"""Rollouts and what experts wrote down, in one loss.

    loss = (1 - mu) * ppo(rollouts) + mu * sft(experts)

each half a mean of its own over the whole optimizer batch. Divergence and entropy terms are of the
rollouts alone. Trinity-RFT, 2025 (arXiv:2505.17826).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from agentscope_tuner.algorithms.aggregation import weights
from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.ppo import ClippedSurrogate
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError

HalfMode = Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum"]
DERIVED = "batch sizes are derived from buffer.batch_size and buffer.experts; leave it out"


@dataclass(frozen=True)
class Mix(ClippedSurrogate):
    """Policy loss `mix`. Raises InputError for a value that makes no sense."""

    name: ClassVar[str] = "mix"
    needs_experts: ClassVar[bool] = True
    weighs_tokens: ClassVar[bool] = True
    refused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            *("train_batch_size_usual", "train_batch_size_expert", "ppo_mini_batch_size"),
            *("ppo_micro_batch_size_per_gpu", "ngpus_trainer", "use_dynamic_bsz"),
        ),
        DERIVED,
    )

    mu: float = 0.1
    """The experts' share of the loss."""
    sft_loss_agg_mode: HalfMode = "token-mean"
    """How the experts' tokens become one loss."""
    grpo_loss_agg_mode: HalfMode = "token-mean"
    """How the rollouts' tokens become one loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sft_loss_agg_mode", "grpo_loss_agg_mode"):
            if (value := getattr(self, name)) not in get_args(HalfMode):
                known = ", ".join(get_args(HalfMode))
                raise InputError(f"{name} is {value!r}; it must be one of {known}")
        for name in ("mu", "mu_peak", "mu_valley"):
            if not 0 <= (value := getattr(self, name, 0.0)) <= 1:
                raise InputError(f"{name} is {value}; it must be between 0 and 1")

    def mu_at(self, step: int) -> float:
        """The experts' share where so many steps are done."""
        return self.mu

    def prepare(self, batch: Batch) -> None:
        """Each half's divisor, and its share."""
        super().prepare(batch)
        expert_N, mu = batch.expert_N, self.mu_at(batch.step)
        batch.columns["weight"] = torch.where(
            expert_N,
            weights(self.sft_loss_agg_mode, batch, among_N=expert_N),
            weights(self.grpo_loss_agg_mode, batch, among_N=~expert_N),
        )
        batch.columns["share"] = torch.where(expert_N, mu, 1 - mu)

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N] with its half's share in it."""
        expert_N = tokens.columns["expert"] > 0
        loss_N, metrics = super().loss(tokens)
        loss_N = torch.where(expert_N, self.imitation(tokens.logprobs_N), loss_N)
        clipped_N = metrics["clip_fraction"]
        return tokens.columns["share"] * loss_N, {
            "clip_fraction": torch.where(expert_N, torch.zeros_like(clipped_N), clipped_N)
        }

    def imitation(self, logprobs_N: Tensor) -> Tensor:
        """Loss of an expert's token [N]."""
        return -logprobs_N


MIX = AlgorithmType("mix", "Too few successes to begin with, and demonstrations.", "grpo", "mix")
