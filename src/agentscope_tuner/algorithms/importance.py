"""Correction for a sampler whose probabilities differ from the learner's.

A sampler in lower precision, or one version behind, draws from mu where the learner computes pi.
The policy gradient over mu's tokens is exact with weights pi / mu; cutting these off at `CAP`
bounds the variance at the price of a small bias:

    weight = min(pi(token) / mu(token), CAP)

Espeholt et al., "IMPALA", 2018 (arXiv:1802.01561); Yao et al., "Your Efficient RL Framework
Secretly Brings You Off-Policy RL Training", 2025 (truncated importance sampling).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

ImportanceCorrection = Literal["none", "truncated"]
"""`none`: the sampler's probabilities are the old policy of the ratio, as in plain PPO.
`truncated`: the learner's own are (so the ratio is 1 and nothing is clipped), and each token's loss
is weighted by the truncated ratio of learner to sampler."""

CAP = 2.0


def truncated_weight(logprobs_N: Tensor, sampler_logprobs_N: Tensor) -> Tensor:
    """Weight per token [N]; no gradient flows through it."""
    return torch.exp(logprobs_N.detach() - sampler_logprobs_N).clamp(max=CAP)
