"""Algorithms that learn from rewards: an advantage, a policy loss, and optional regularisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from agentscope_tuner.algorithms.base import TokenBatch
from agentscope_tuner.algorithms.grpo import GroupAdvantage
from agentscope_tuner.algorithms.importance import CAP, ImportanceCorrection, truncated_weight
from agentscope_tuner.algorithms.kl import Estimator
from agentscope_tuner.algorithms.ppo import ClippedSurrogate
from agentscope_tuner.trajectory import RolloutGroup

AdvantageFn = Callable[[Sequence[RolloutGroup]], list[list[float | None]]]
PolicyLoss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class PolicyGradient:
    """loss = weight * policy_loss + kl_coef * KL(pi || reference) - entropy_coef * entropy."""

    name: str
    advantage_fn: AdvantageFn = field(default_factory=GroupAdvantage)
    policy_loss: PolicyLoss = field(default_factory=ClippedSurrogate)
    importance_correction: ImportanceCorrection = "none"
    kl: Estimator | None = None
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    group_based: bool = True
    supervised: bool = False

    @property
    def needs_reference(self) -> bool:
        """True with a KL term."""
        return self.kl is not None

    @property
    def learns_without_advantage(self) -> bool:
        """True with a KL or entropy term."""
        return self.kl is not None or self.entropy_coef != 0.0

    @property
    def needs_proximal(self) -> bool:
        """True with the importance correction."""
        return self.importance_correction != "none"

    def advantages(self, groups: Sequence[RolloutGroup]) -> list[list[float | None]]:
        """What `advantage_fn` gives."""
        return self.advantage_fn(groups)

    def loss(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss per token [N] and metrics per token [N]."""
        loss_N, metrics = self._policy_loss(batch)
        if self.kl is not None:
            if batch.ref_logprobs_N is None:
                raise ValueError(f"{self.name} with a KL term needs reference log-probabilities")
            kl_N = self.kl(batch.logprobs_N, batch.ref_logprobs_N)
            loss_N = loss_N + self.kl_coef * kl_N
            metrics["kl_reference"] = kl_N.detach()
        if self.entropy_coef:
            if batch.entropy_N is None:
                raise ValueError(f"{self.name} with an entropy term needs the entropy")
            loss_N = loss_N - self.entropy_coef * batch.entropy_N
        return loss_N, metrics

    def _policy_loss(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logprobs_N, sampler_N = batch.logprobs_N, batch.old_logprobs_N
        if self.importance_correction == "none":
            return self.policy_loss(logprobs_N, sampler_N, batch.advantages_N)
        proximal_N = batch.proximal_logprobs_N
        if proximal_N is None:
            proximal_N = logprobs_N.detach()
        loss_N, metrics = self.policy_loss(logprobs_N, proximal_N, batch.advantages_N)
        weight_N = truncated_weight(proximal_N, sampler_N)
        metrics["truncated_fraction"] = (weight_N == CAP).to(weight_N.dtype)
        return weight_N * loss_N, metrics
