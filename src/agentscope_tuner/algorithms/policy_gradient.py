"""An algorithm put together from parts.

    loss = w * policy_loss + kl_coef * KL(pi || reference) - entropy_coef * entropy

summed over tokens with the weights of `aggregation`; w is the correction for the sampler's
mismatch. A `kl_penalty` enters the rewards instead: each trained token costs kl_coef * KL, and
where an advantage takes one number a rollout, their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentscope_tuner.algorithms.advantage import forget_token_advantages
from agentscope_tuner.algorithms.aggregation import weights
from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.mismatch_metrics import mismatch
from agentscope_tuner.algorithms.parts import Parts
from agentscope_tuner.algorithms.sampled_or_written import of_rollouts, without_experts
from agentscope_tuner.algorithms.token_rewards import penalised
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class PolicyGradient(Parts):
    """See the module."""

    @property
    def before_advantages(self) -> frozenset[str]:
        """What its advantage asks for, and what a penalty in the reward is made of."""
        penalty = {"reference", "proximal"} if self.kl_penalty is not None else set()
        return self.advantage.needs | penalty

    def before_updates(self, updates: int) -> frozenset[str]:
        """The reference's and the teacher's probabilities, and the learner's own where they are the
        old policy.

        In the only update on a step's rollouts these are the current ones, which cost nothing.
        """
        reference = {"reference"} if self.needs_reference else set()
        teacher = {"teacher_top"} if self.teacher_top else set()
        own = {"proximal"} if updates > 1 and self.correction.decoupled else set()
        return frozenset(reference | teacher | own)

    def hinted(self, groups: Sequence[RolloutGroup]) -> Sequence[RolloutGroup]:
        """As its advantage does."""
        return self.advantage.hinted(groups)

    def advantages(self, groups: Sequence[RolloutGroup]) -> None:
        """What its advantage sets, of rewards with the penalty in them."""
        forget_token_advantages(groups)
        if self.needs_experts:
            groups = without_experts(groups)
        if self.kl_penalty is None:
            self.advantage(groups)
            return
        with penalised(groups, self.kl_penalty, by_token=self.advantage.uses_token_rewards):
            self.advantage(groups)

    def prepare(self, batch: Batch) -> None:
        """The old policy, the share of every token, and what the loss itself couples."""
        columns = batch.columns
        if self.needs_experts:
            columns["expert"] = batch.expert_N.float()
        if not self.correction.decoupled:
            columns["old"] = columns["sampler"]
        elif (old_N := columns.get("proximal", columns.get("current"))) is not None:
            columns["old"] = old_N
        columns["weight"] = weights(self.aggregation, batch, length=self.aggregation_length)
        if self.correction.decoupled and "old" in columns:
            log_w_N = columns["old"] - columns["sampler"]
            weight_N = self.correction.of_batch(log_w_N, batch)
            columns["correction"] = of_rollouts(weight_N, columns, otherwise=1.0)
        self.policy_loss.prepare(batch)

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N] and metrics per token [N]."""
        loss_N, metrics = self.policy_loss.loss(tokens)
        if self.correction.decoupled:
            weight_N = self._correction(tokens)
            loss_N = weight_N * loss_N
            metrics["corrected_fraction"] = self._corrected(weight_N, tokens)
        if self.kl_loss is not None and "reference" in tokens.columns:
            reference_N = tokens.columns["reference"]
            kl_N = self.kl_loss.estimator(tokens.logprobs_N, reference_N, tokens.old_N)
            kl_N = of_rollouts(kl_N, tokens.columns)
            loss_N = loss_N + self.kl_loss.kl_coef * kl_N
            metrics["kl_reference"] = kl_N.detach()
        if self.entropy_coef:
            loss_N = loss_N - self.entropy_coef * of_rollouts(tokens.entropy_N, tokens.columns)
        if (penalty_N := tokens.columns.get("penalty")) is not None and self.kl_penalty is not None:
            metrics["kl_penalty"] = penalty_N / self.kl_penalty.kl_coef
        if self.data == "rollouts":
            metrics |= mismatch(tokens)
        return loss_N, metrics

    def _correction(self, tokens: Tokens) -> Tensor:
        weight_N = tokens.columns.get("correction")
        if weight_N is None:  # a first update by tokens: their old policy is the current one
            weight_N = self.correction.of_tokens(tokens.old_N - tokens.columns["sampler"])
        return of_rollouts(weight_N, tokens.columns, otherwise=1.0)

    def _corrected(self, weight_N: Tensor, tokens: Tokens) -> Tensor:
        plain_N = torch.exp(tokens.old_N - tokens.columns["sampler"])
        corrected_N = (weight_N - plain_N).abs().gt(1e-6 * plain_N).to(weight_N.dtype)
        return of_rollouts(corrected_N, tokens.columns)
