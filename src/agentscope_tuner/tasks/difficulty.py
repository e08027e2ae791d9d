"""How hard each sample is for the model as it is now: a Beta posterior over its pass rate.

BOTS (arXiv:2510.26374). Samples that were just run give evidence directly. All others are estimated
by interpolating between the known pass rates of a weaker and a stronger model, at the place between
them where the model stands now; such evidence counts `rho` of the direct one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CAPABILITY_MEMORY = 0.9
_LARGE_ERROR = 0.25


class DifficultyEstimator:
    """Beta(alpha, beta) for every sample, from a flat prior.

    Args:
        features_S2: pass rates in [0, 1] of the weaker and the stronger model.
        m: rollouts that one observation stands for.
        lamb: how much of the past is forgotten at each update, in [0, 1].
        rho: weight of interpolated evidence, in [0, 1].
        adaptive_rho: halve `rho` whenever interpolation misses by 0.25 on average.
    """

    def __init__(
        self,
        features_S2: NDArray[np.float64],
        *,
        m: int,
        lamb: float,
        rho: float,
        adaptive_rho: bool,
    ) -> None:
        self.weak_S, self.strong_S = features_S2.T
        self.m, self.lamb, self.rho, self.adaptive_rho = m, lamb, rho, adaptive_rho
        self.alpha_S = np.ones(len(features_S2))
        self.beta_S = np.ones(len(features_S2))
        self.capability: float | None = None
        """Where the model stands: 0 at the weaker model, 1 at the stronger; None: not known yet."""

    def pass_rates(self, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
        """The posterior's mean for every sample, or with `rng` a draw from it."""
        if rng is not None:
            return rng.beta(self.alpha_S, self.beta_S)
        return self.alpha_S / (self.alpha_S + self.beta_S)

    def update(self, indices: Sequence[int], rewards: Sequence[float]) -> None:
        """Take the mean rewards of these samples as pass rates (cut to [0, 1])."""
        seen = np.asarray(indices)
        observed = np.clip(np.asarray(rewards, float), 0, 1)
        weak, strong = self.weak_S[seen].mean(), self.strong_S[seen].mean()
        place = float((observed.mean() - weak) / (strong - weak + 1e-6))
        if self.capability is None:
            self.capability = place
        else:
            keep = _CAPABILITY_MEMORY
            self.capability = keep * self.capability + (1 - keep) * place

        rates_S = np.clip(self.weak_S + self.capability * (self.strong_S - self.weak_S), 0, 1)
        if self.adaptive_rho and np.abs(rates_S[seen] - observed).mean() >= _LARGE_ERROR:
            self.rho /= 2
        rates_S[seen] = observed
        counts_S = np.full(len(rates_S), self.rho * self.m)
        counts_S[seen] = self.m
        self.alpha_S = (1 - self.lamb) * self.alpha_S + self.lamb + counts_S * rates_S
        self.beta_S = (1 - self.lamb) * self.beta_S + self.lamb + counts_S * (1 - rates_S)

    def state_dict(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha_S.tolist(),
            "beta": self.beta_S.tolist(),
            "capability": self.capability,
            "rho": self.rho,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.alpha_S = np.array(state["alpha"])
        self.beta_S = np.array(state["beta"])
        self.capability = state["capability"]
        self.rho = state["rho"]
