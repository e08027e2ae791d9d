"""What a loss sees: some trained tokens of a batch, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Metrics = dict[str, Tensor]
"""Per token [N]; logged as means over the computed tokens, or as the largest (`..._max`)."""


@dataclass(slots=True)
class Tokens:
    """Some of the trained tokens of a batch, while their gradient is computed."""

    logprobs_N: Tensor
    """Under the learner's current weights, with gradient, over the support drawn from."""
    entropy_N: Tensor
    """Of the current distribution in nats, with gradient."""
    columns: Mapping[str, Tensor]
    """The batch's columns at these tokens, [N] each; no gradient."""
    others_NK: Tensor | None = None
    """As `logprobs_N`, of the column `other_ids`, with gradient."""

    @property
    def advantages_N(self) -> Tensor:
        """The column `advantage`."""
        return self.columns["advantage"]

    @property
    def old_N(self) -> Tensor:
        """The denominator of the ratio; where no column says, the current weights' own."""
        old_N = self.columns.get("old")
        return self.logprobs_N.detach() if old_N is None else old_N
