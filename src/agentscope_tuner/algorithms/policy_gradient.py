"""An algorithm put together from parts.

    loss = w * policy_loss + kl_coef * KL(pi || reference) - entropy_coef * entropy

summed over tokens with the weights of `aggregation`; w is the correction for the sampler's
mismatch. A `kl_penalty` enters the rewards instead: each trained token costs kl_coef * KL, and
where an advantage takes one number a rollout, their sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agentscope_tuner.algorithms.advantage import Advantage, forget_token_advantages
from agentscope_tuner.algorithms.aggregation import Aggregation, weights
from agentscope_tuner.algorithms.base import Algorithm, Data, Metrics, Scope, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.kl import KlTerm
from agentscope_tuner.algorithms.mismatch import Correction
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.token_rewards import penalised
from agentscope_tuner.algorithms.value_loss import ValueLoss
from agentscope_tuner.trajectory import RolloutGroup

WIDEST: tuple[Scope, ...] = ("token", "sequence", "pair", "batch")


@dataclass
class PolicyGradient(Algorithm):
    """See the module."""

    name: str
    advantage: Advantage
    policy_loss: PolicyLoss
    correction: Correction
    kl_loss: KlTerm | None = None
    kl_penalty: KlTerm | None = None
    entropy_coef: float = 0.0
    aggregation: Aggregation = "token-mean"
    aggregation_length: int = 1
    value_loss: ValueLoss = field(default_factory=ValueLoss)
    data: Data = "rollouts"

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """As its advantage does."""
        return self.advantage.compares

    @property
    def scope(self) -> Scope:  # type: ignore[override]
        """The widest of its parts'."""
        return max(self.policy_loss.scope, self.correction.scope, key=WIDEST.index)

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        """With a divergence whose weight is not 0, or a loss that asks for it."""
        terms = (term for term in (self.kl_loss, self.kl_penalty) if term is not None)
        return self.policy_loss.needs_reference or any(term.kl_coef for term in terms)

    @property
    def needs_teacher(self) -> bool:  # type: ignore[override]
        """As its advantage does."""
        return "teacher" in self.advantage.needs

    @property
    def needs_critic(self) -> bool:  # type: ignore[override]
        """As its advantage does."""
        return "value" in self.advantage.needs

    @property
    def needs_experts(self) -> bool:  # type: ignore[override]
        """As its loss does."""
        return self.policy_loss.needs_experts

    @property
    def learns_without_advantage(self) -> bool:  # type: ignore[override]
        """With a term that needs none."""
        regularised = self.kl_loss is not None or self.entropy_coef != 0.0
        return regularised or not self.policy_loss.zero_without_advantage

    @property
    def before_advantages(self) -> frozenset[str]:
        """What its advantage asks for, and what a penalty in the reward is made of."""
        penalty = {"reference", "proximal"} if self.kl_penalty is not None else set()
        return self.advantage.needs | penalty

    def before_updates(self, updates: int) -> frozenset[str]:
        """The reference's probabilities, and the learner's own where they are the old policy.

        In the only update on a step's rollouts these are the current ones, which cost nothing.
        """
        reference = {"reference"} if self.needs_reference else set()
        return frozenset(reference | ({"proximal"} if updates > 1 and self._decoupled else set()))

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
        if not self._decoupled:
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
        if self.data == "rollouts":
            metrics |= mismatch(tokens)
        return loss_N, metrics

    def after_step(self, metrics: Mapping[str, float], groups: Sequence[RolloutGroup]) -> None:
        """Let adaptive weights follow their targets."""
        rollouts = sum(len(group.rewards) for group in groups)
        for term, key in ((self.kl_loss, "policy/kl_reference"), (self.kl_penalty, PENALTY)):
            if term is not None and key in metrics:
                term.adapt(metrics[key], rollouts)

    def state_dict(self) -> dict[str, Any]:
        """The weights of its divergences."""
        terms = {"kl_loss": self.kl_loss, "kl_penalty": self.kl_penalty}
        return {name: term.state_dict() for name, term in terms.items() if term is not None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with them."""
        for name, term in (("kl_loss", self.kl_loss), ("kl_penalty", self.kl_penalty)):
            if term is not None and name in state:
                term.load_state_dict(state[name])

    @property
    def _decoupled(self) -> bool:
        return self.correction.decoupled

    def _correction(self, tokens: Tokens) -> Tensor:
        weight_N = tokens.columns.get("correction")
        if weight_N is None:  # a first update by tokens: their old policy is the current one
            weight_N = self.correction.of_tokens(tokens.old_N - tokens.columns["sampler"])
        return of_rollouts(weight_N, tokens.columns, otherwise=1.0)

    def _corrected(self, weight_N: Tensor, tokens: Tokens) -> Tensor:
        plain_N = torch.exp(tokens.old_N - tokens.columns["sampler"])
        corrected_N = (weight_N - plain_N).abs().gt(1e-6 * plain_N).to(weight_N.dtype)
        return of_rollouts(corrected_N, tokens.columns)


PENALTY = "policy/kl_penalty"


def without_experts(groups: Sequence[RolloutGroup]) -> list[RolloutGroup]:
    """The groups of rollouts; what experts wrote down is worth 1."""
    for rollout in (rollout for group in groups for rollout in group.rollouts if rollout.expert):
        rollout.advantage = 1.0
    return [group for group in groups if not any(rollout.expert for rollout in group.rollouts)]


def of_rollouts(
    values_N: Tensor, columns: Mapping[str, Tensor], *, otherwise: float = 0.0
) -> Tensor:
    """Values of tokens [N] where they were sampled, `otherwise` where an expert wrote them down."""
    expert_N = columns.get("expert")
    if expert_N is None:
        return values_N
    return torch.where(expert_N > 0, torch.full_like(values_N, otherwise), values_N)


def mismatch(tokens: Tokens) -> Metrics:
    """How far the learner's probabilities are from the sampler's, token by token.

    Tokens were drawn by the sampler, so k3 estimates KL(sampler || learner).
    """
    # In float64: nothing is cut off, and a ratio of e^100 is still a number.
    d_N = (tokens.logprobs_N.detach() - tokens.columns["sampler"]).double()
    d_N = of_rollouts(d_N, tokens.columns)
    ratio_N = torch.exp(d_N)
    kl_N = torch.expm1(d_N) - d_N
    return {"ratio_mean": ratio_N, "ratio_max": ratio_N, "kl_sampler_learner": kl_N}
