"""Correction for a sampler whose probabilities differ from the learner's.

A sampler with other kernels, in lower precision or some versions behind draws from mu where the
learner, before its first update on the step's rollouts, computes pi_0. What the learner then does
is relative to pi_0; that the tokens come from mu is made up for by a weight on each token's loss,
made of w = pi_0 / mu:

| `importance_correction` | weight | defaults |
| --- | --- | --- |
| `none` | 1, and the ratio of the loss is against mu itself | |
| `truncated` | min(w, cap) | cap 2 |
| `sequence_truncated` | min(product of w over the sample, cap) | cap 2 |
| `sequence_mask` | the product where it is at most cap, else 0 | cap 3 |
| `icepop` | w where low <= w <= high, else 0 | low 0.5, high 5 |
| `geometric_mask` | 1 where low <= exp(mean log w of the sample) <= high, else 0 | 0.99, 1.01 |
| `veto` | 1 where every w of the sample is within low and high, else 0 | 1e-4, 100 |

Hilton et al., 2021 (arXiv:2110.00641) for the decoupled objective; Yao et al., "Your Efficient RL
Framework Secretly Brings You Off-Policy RL Training", 2025 (truncated); IcePop: Ling team, 2025.
Products shrink exponentially with length: agents want forms of tokens or of means. Rejected tokens
stay in the loss's divisor, so that the rest is not magnified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Scope
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.errors import InputError

DEFAULTS: dict[str, dict[str, float]] = {
    "none": {},
    "truncated": {"cap": 2.0},
    "sequence_truncated": {"cap": 2.0},
    "sequence_mask": {"cap": 3.0},
    "icepop": {"low": 0.5, "high": 5.0},
    "geometric_mask": {"low": 0.99, "high": 1.01},
    "veto": {"low": 1e-4, "high": 100.0},
}
LARGEST_LOG = 20.0
"""Sums of logarithms are bounded by this before they become products."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One row of the table. Raises InputError for an unknown mode or argument."""

    mode: str
    bounds: Mapping[str, float]

    @classmethod
    def of(cls, mode: str, arguments: Mapping[str, Any] | None = None) -> Correction:
        """The mode with its defaults and these arguments over them."""
        if mode not in DEFAULTS:
            known = ", ".join(DEFAULTS)
            raise InputError(f"importance_correction {mode!r} is not known; known are: {known}")
        for name in arguments or {}:
            if name not in DEFAULTS[mode]:
                known = ", ".join(DEFAULTS[mode]) or "none"
                raise InputError(
                    f"importance_correction {mode} has no argument {name!r}; known are: {known}"
                )
        return cls(mode, {**DEFAULTS[mode], **(arguments or {})})

    @property
    def decoupled(self) -> bool:
        """Whether the loss's ratio is against the learner's own probabilities."""
        return self.mode != "none"

    @property
    def scope(self) -> Scope:
        """What its weight couples."""
        return "token" if self.mode in ("none", "truncated", "icepop") else "sequence"

    def of_tokens(self, log_w_N: Tensor) -> Tensor:
        """Weight per token [N] of a mode whose scope is the token."""
        w_N = torch.exp(log_w_N)
        if self.mode == "truncated":
            return w_N.clamp(max=self.bounds["cap"])
        return w_N * ((w_N >= self.bounds["low"]) & (w_N <= self.bounds["high"]))

    def of_batch(self, log_w_N: Tensor, batch: Batch) -> Tensor:
        """Weight per token [N] of any mode but `none`."""
        if self.scope == "token":
            return self.of_tokens(log_w_N)
        summed_N = batch.sum(log_w_N, batch.sample_N).clamp(-LARGEST_LOG, LARGEST_LOG)
        match self.mode:
            case "sequence_truncated":
                weight_N = torch.exp(summed_N).clamp(max=self.bounds["cap"])
            case "sequence_mask":
                product_N = torch.exp(summed_N)
                weight_N = product_N * (product_N <= self.bounds["cap"])
            case "geometric_mask":
                weight_N = self._inside(torch.exp(batch.mean(log_w_N, batch.sample_N)))
            case _:
                outside_N = 1.0 - self._inside(torch.exp(log_w_N.double()))
                weight_N = (batch.sum(outside_N, batch.sample_N) == 0).double()
        return weight_N.float()

    def _inside(self, values_N: Tensor) -> Tensor:
        low, high = self.bounds["low"], self.bounds["high"]
        return ((values_N >= low) & (values_N <= high)).double()
