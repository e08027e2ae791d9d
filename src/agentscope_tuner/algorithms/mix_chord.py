"""CHORD: from imitation over to reinforcement.

The loss of `mix`, with a share mu of the experts that rises from 0 to `mu_peak` and then falls
along half a cosine to `mu_valley`; an expert's token may weigh p (1 - p), which learns least from
what is known and from what is out of reach. Zhang et al., 2025 (arXiv:2508.11408).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentscope_tuner.algorithms.mix import Mix
from agentscope_tuner.algorithms.sft import phi_likelihood
from agentscope_tuner.algorithms.types import AlgorithmType


@dataclass(frozen=True)
class MixChord(Mix):
    """Policy loss `mix_chord`. Raises InputError for a value that makes no sense."""

    name: ClassVar[str] = "mix_chord"
    refused: ClassVar[Mapping[str, str]] = {
        **Mix.refused,
        "mu": "mu_peak, mu_valley and their steps say it; leave it out",
    }

    mu_warmup_steps: int = 0
    """Steps in which the experts' share rises from 0."""
    mu_decay_steps: int = 0
    """Steps after these in which it falls."""
    mu_peak: float = 0.1
    """What it rises to."""
    mu_valley: float = 0.1
    """What it falls to."""
    enable_phi_function: bool = True
    """Weigh an expert's token by p (1 - p)."""

    def mu_at(self, step: int) -> float:
        """See the module."""
        if step < self.mu_warmup_steps:
            return self.mu_peak * step / self.mu_warmup_steps
        after = step - self.mu_warmup_steps
        if after >= self.mu_decay_steps:
            return self.mu_valley
        height = 0.5 * (1 + math.cos(math.pi * after / self.mu_decay_steps))
        return self.mu_valley + (self.mu_peak - self.mu_valley) * height

    def imitation(self, logprobs_N: Tensor) -> Tensor:
        """Loss of an expert's token [N]."""
        return phi_likelihood(logprobs_N) if self.enable_phi_function else -logprobs_N


MIX_CHORD = AlgorithmType(
    "mix_chord", "As mix, from imitation over to reinforcement.", "grpo", "mix_chord"
)
