"""The critic's clipped loss, per token.

    loss = max((v - G)^2, (v_old + clip(v - v_old, -cliprange_value, cliprange_value) - G)^2) / 2

with G the return that the advantages were made with and v_old the value before the step: a value
that has moved far gets no further gradient in its sense. Schulman et al., "Proximal Policy
Optimization Algorithms", 2017 (arXiv:1707.06347), in the form of OpenAI's baselines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Metrics
from agentscope_tuner.errors import InputError


@dataclass(frozen=True)
class ValueLoss:
    """See the module. Raises InputError if the range is not positive."""

    cliprange_value: float = 0.5
    """How far a value may move from what it was before the step."""

    def __post_init__(self) -> None:
        if self.cliprange_value <= 0:
            raise InputError(f"cliprange_value is {self.cliprange_value}; it must be positive")

    def __call__(self, values_N: Tensor, columns: Mapping[str, Tensor]) -> tuple[Tensor, Metrics]:
        """Loss per token [N] from the columns `value` and `return`, and `clip_fraction`."""
        before_N, return_N = columns["value"], columns["return"]
        moved_N = (values_N - before_N).clamp(-self.cliprange_value, self.cliprange_value)
        plain_N = (values_N - return_N) ** 2
        clipped_N = (before_N + moved_N - return_N) ** 2
        loss_N = 0.5 * torch.maximum(plain_N, clipped_N)
        return loss_N, {"clip_fraction": (clipped_N > plain_N).to(loss_N.dtype).detach()}
