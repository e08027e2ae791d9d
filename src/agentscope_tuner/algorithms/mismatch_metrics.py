"""How far the learner's probabilities are from the sampler's."""

from __future__ import annotations

import torch

from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.sampled_or_written import of_rollouts


def mismatch(tokens: Tokens) -> Metrics:
    """Token by token.

    Tokens were drawn by the sampler, so k3 estimates KL(sampler || learner).
    """
    # In float64: nothing is cut off, and a ratio of e^100 is still a number.
    d_N = (tokens.logprobs_N.detach() - tokens.columns["sampler"]).double()
    d_N = of_rollouts(d_N, tokens.columns)
    ratio_N = torch.exp(d_N)
    kl_N = torch.expm1(d_N) - d_N
    return {"ratio_mean": ratio_N, "ratio_max": ratio_N, "kl_sampler_learner": kl_N}
