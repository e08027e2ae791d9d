"""Estimators of the divergence from a reference policy, per token.

With d = ln pi(token) - ln pi_ref(token) and tokens drawn from pi, each estimates KL(pi || pi_ref):

| name | value | gradient of its mean, as a term of the loss |
| --- | --- | --- |
| `k1` | d | 0: it regularises nothing, so it is for rewards only |
| `k2` | d^2 / 2 | that of the true divergence |
| `k3` | exp(-d) - 1 + d | that of the forward divergence KL(pi_ref / pi) |
| `low_var_kl` | k3, with exponent and value bounded by 20 and 10 | as k3 |
| `corrected_k3` | clip(pi / pi_old, 0, 2) * k3 | k3's, also where pi has left pi_old |
| `abs` | abs(d) | its sign's |

Schulman, "Approximating KL Divergence", 2020; gradients: Tang & Munos, 2025 (arXiv:2506.09477);
`corrected_k3`: DeepSeek-V3.2, 2025 (arXiv:2512.02556). The controller is that of Ziegler et al.,
"Fine-Tuning Language Models from Human Preferences", 2019 (arXiv:1909.08593).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentscope_tuner.errors import InputError

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(ln pi, ln pi_ref, ln pi_old), [N] each, to the divergence at each token [N]."""


def k1(logprobs_N: Tensor, ref_N: Tensor, old_N: Tensor) -> Tensor:
    """The plain log-ratio."""
    return logprobs_N - ref_N


def k2(logprobs_N: Tensor, ref_N: Tensor, old_N: Tensor) -> Tensor:
    """Half the squared log-ratio."""
    return 0.5 * (logprobs_N - ref_N).square()


def k3(logprobs_N: Tensor, ref_N: Tensor, old_N: Tensor) -> Tensor:
    """Unbiased and never negative."""
    return torch.exp(ref_N - logprobs_N) - 1.0 - (ref_N - logprobs_N)


def low_var_kl(logprobs_N: Tensor, ref_N: Tensor, old_N: Tensor) -> Tensor:
    """k3 in bounds, so that one token cannot rule a step."""
    negative_d_N = (ref_N - logprobs_N).clamp(-20.0, 20.0)
    return (torch.exp(negative_d_N) - 1.0 - negative_d_N).clamp(max=10.0)


def corrected_k3(logprobs_N: Tensor, ref_N: Tensor, old_N: Tensor) -> Tensor:
    """k3, weighed by how much likelier the token has become since it was sampled."""
    ratio_N = torch.exp(logprobs_N - old_N).clamp(0.0, 2.0)
    return ratio_N * k3(logprobs_N, ref_N, old_N)


def absolute(logprobs_N: Tensor, ref_N: Tensor, old_N: Tensor) -> Tensor:
    """The size of the log-ratio."""
    return (logprobs_N - ref_N).abs()


KL_ESTIMATORS: dict[str, Estimator] = {
    "k1": k1,
    "k2": k2,
    "k3": k3,
    "low_var_kl": low_var_kl,
    "corrected_k3": corrected_k3,
    "abs": absolute,
}


@dataclass(slots=True)
class KlTerm:
    """A divergence and its weight, which may follow a target.

    Adaptive: after every step of n rollouts with the mean divergence kl,
    coef *= 1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon.
    """

    estimator: Estimator
    kl_coef: float = 0.001
    adaptive: bool = False
    target: float = 0.1
    horizon: int = 10_000

    def __post_init__(self) -> None:
        if self.target <= 0 or self.horizon <= 0:
            raise InputError("kl target and horizon must be positive")

    def adapt(self, kl: float, rollouts: int) -> None:
        """Follow the target after a step, if that was asked for."""
        if self.adaptive:
            error = min(max(kl / self.target - 1.0, -0.2), 0.2)
            self.kl_coef *= 1.0 + error * rollouts / self.horizon

    def state_dict(self) -> dict[str, Any]:
        """The weight."""
        return {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with that weight."""
        self.kl_coef = state["kl_coef"]
