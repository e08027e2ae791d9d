"""What an algorithm is put together from, what it needs therefore, and what it remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.aggregation import Aggregation
from agentscope_tuner.algorithms.base import Algorithm, Data, Scope
from agentscope_tuner.algorithms.kl import KlTerm
from agentscope_tuner.algorithms.mismatch import Correction
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.value_loss import ValueLoss
from agentscope_tuner.trajectory import RolloutGroup

WIDEST: tuple[Scope, ...] = ("token", "sequence", "pair", "batch")


@dataclass
class Parts(Algorithm):
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
        """As its advantage or its loss does."""
        return "teacher" in self.advantage.needs or self.teacher_top > 0

    @property
    def teacher_top(self) -> int:  # type: ignore[override]
        """As its loss says."""
        return self.policy_loss.teacher_top

    @property
    def needs_critic(self) -> bool:  # type: ignore[override]
        """As its advantage does."""
        return "value" in self.advantage.needs

    @property
    def needs_greedy(self) -> bool:  # type: ignore[override]
        """As its advantage does."""
        return self.advantage.needs_greedy

    @property
    def needs_experts(self) -> bool:  # type: ignore[override]
        """As its loss does."""
        return self.policy_loss.needs_experts

    @property
    def learns_without_advantage(self) -> bool:  # type: ignore[override]
        """With a term that needs none."""
        regularised = self.kl_loss is not None or self.entropy_coef != 0.0
        return regularised or not self.policy_loss.zero_without_advantage

    def after_step(self, metrics: Mapping[str, float], groups: Sequence[RolloutGroup]) -> None:
        """Let adaptive weights follow their targets."""
        rollouts = sum(len(group.rewards) for group in groups)
        for term, key in (
            (self.kl_loss, "policy/kl_reference"),
            (self.kl_penalty, "policy/kl_penalty"),
        ):
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
