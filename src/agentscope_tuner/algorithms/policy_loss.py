"""What every policy loss shares.

Subclasses are frozen dataclasses: their fields are the `policy_loss_fn_args`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics, Scope, Tokens
from agentscope_tuner.algorithms.batch import Batch


class PolicyLoss:
    """Turns advantages and log-probabilities into a loss per token."""

    name: ClassVar[str]
    scope: Scope = "token"
    needs_reference: ClassVar[bool] = False
    needs_experts: ClassVar[bool] = False

    @property
    def teacher_top(self) -> int:
        """Of how many of its likeliest tokens the teacher is asked."""
        return 0

    zero_without_advantage: ClassVar[bool] = True
    """Whether a token with advantage 0 has no gradient."""

    weighs_tokens: ClassVar[bool] = False
    """Whether it sets the column `weight` itself, so that `loss_agg_mode` has no effect."""

    refused: ClassVar[Mapping[str, str]] = {}
    """Arguments that other tuners have here, and what to do instead."""

    def prepare(self, batch: Batch) -> None:
        """Turn what couples tokens into columns; `old` and, beyond a token, `current` are there."""

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N] and metrics."""
        raise NotImplementedError
