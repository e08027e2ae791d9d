"""Correction for a sampler whose probabilities differ from the learner's.

A sampler in lower precision, or one version behind, draws from mu where the learner, before its
first update on the batch, computes pi_0. What the learner then does is relative to pi_0; that the
tokens come from mu is made up for by weights pi_0 / mu. Cutting these off at `CAP` bounds the
variance at the price of a small bias:

    weight = min(pi_0(token) / mu(token), CAP)

Hilton et al., "Batch size-invariance for policy optimization", 2021 (arXiv:2110.00641), for the
decoupled objective; Yao et al., "Your Efficient RL Framework
Secretly Brings You Off-Policy RL Training", 2025 (truncated importance sampling).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

ImportanceCorrection = Literal["none", "truncated"]
"""`none`: the sampler's probabilities are the old policy of the ratio, as in plain PPO.
`truncated`: the learner's own before its first update on the batch are, and each token's loss is
weighted by the truncated ratio of these to the sampler's. In a first update the ratio that is
clipped is then exactly 1."""

CAP = 2.0


def truncated_weight(proximal_logprobs_N: Tensor, sampler_logprobs_N: Tensor) -> Tensor:
    """Weight per token [N]."""
    return torch.exp(proximal_logprobs_N - sampler_logprobs_N).clamp(max=CAP)
