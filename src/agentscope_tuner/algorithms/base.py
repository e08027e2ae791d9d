"""What an algorithm is: advantages for groups of rollouts, and a loss for sampled tokens.

The learner knows no algorithm: it computes log-probabilities, asks for a loss per token, weighs
and sums it. A batch reaches `loss` in pieces of any size, so one token's loss may depend on no
other token. Shapes: N is the number of tokens of a piece, flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from agentscope_tuner.trajectory import RolloutGroup


@dataclass(slots=True)
class TokenBatch:
    """Some of the trained tokens of a batch."""

    logprobs_N: Tensor
    """Under the learner's current weights, with gradient, over the support drawn from."""
    old_logprobs_N: Tensor
    """Under the policy that sampled (the denominator of the ratio); no gradient."""
    advantages_N: Tensor
    proximal_logprobs_N: Tensor | None = None
    """Under the learner's weights before the first of several updates on one batch; None: this is
    the first, so they are `logprobs_N` themselves."""
    entropy_N: Tensor | None = None
    """Entropy of the current distribution in nats, with gradient."""
    ref_logprobs_N: Tensor | None = None
    """Under the reference policy, where an algorithm asks for it."""


class Algorithm(Protocol):
    """One learning rule."""

    @property
    def name(self) -> str:
        """The `algorithm_type` it is known by."""
        ...

    @property
    def group_based(self) -> bool:
        """Whether it compares the rollouts of a group, so that a group of one teaches nothing."""
        ...

    @property
    def supervised(self) -> bool:
        """Whether it imitates demonstrations instead of learning from rollouts."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether its loss asks for log-probabilities under a reference policy."""
        ...

    @property
    def learns_without_advantage(self) -> bool:
        """Whether a token with advantage 0 has a gradient (a KL or entropy term gives it one)."""
        ...

    @property
    def needs_proximal(self) -> bool:
        """Whether its loss asks, in later updates on a batch, for the log-probabilities under the
        weights before the first."""
        ...

    def advantages(self, groups: Sequence[RolloutGroup]) -> list[list[float | None]]:
        """One advantage a rollout of each group; None where the rollout is not trained on."""
        ...

    def loss(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss per token [N] and metrics per token [N] (logged as means over trained tokens)."""
        ...
