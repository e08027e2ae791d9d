"""Estimators of the divergence from a reference policy, per token.

With d = ln pi(token) - ln pi_ref(token) and tokens drawn from pi, each estimates KL(pi || pi_ref):
`k1` = d (unbiased, high variance), `k2` = d^2 / 2 (biased, low variance), `low_var_kl` (k3) =
exp(-d) - 1 + d (unbiased, never negative). Schulman, "Approximating KL Divergence", 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Estimator = Callable[[Tensor, Tensor], Tensor]


def k1(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """The plain log-ratio."""
    return logprobs_N - ref_logprobs_N


def k2(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """Half the squared log-ratio."""
    return 0.5 * (logprobs_N - ref_logprobs_N).square()


def low_var_kl(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """The k3 estimator; exponent and result are bounded so that one token cannot rule a step."""
    negative_d_N = (ref_logprobs_N - logprobs_N).clamp(-20.0, 20.0)
    return (torch.exp(negative_d_N) - 1.0 - negative_d_N).clamp(max=10.0)


KL_ESTIMATORS: dict[str, Estimator] = {"k1": k1, "k2": k2, "low_var_kl": low_var_kl}
