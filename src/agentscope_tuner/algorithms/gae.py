"""PPO's advantages: generalised advantage estimation with a critic.

    delta_t = r_t + gamma * V_{t+1} - V_t;   A_t = delta_t + gamma * lam * A_{t+1};   return_t =
    A_t + V_t

over the trained tokens of a rollout in the order of its calls (what the agent observed in between
is stepped over), then whitened over all trained tokens of the step. Schulman et al., 2016
(arXiv:1506.02438) and 2017 (arXiv:1707.06347). After the end V is 0; a rollout that a length limit
cut off has not ended, so its last value stands for what would have come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.algorithms.advantage import Advantage, set_token_advantages, whiten
from agentscope_tuner.algorithms.token_rewards import set_token_column, token_rewards, trained_calls
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, RolloutGroup

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gae(Advantage):
    """Advantages of `ppo`. Raises InputError for a gamma or lam outside 0 to 1."""

    name: ClassVar[str] = "ppo"
    aliases: ClassVar[tuple[str, ...]] = ("gae",)
    needs: ClassVar[frozenset[str]] = frozenset({"value"})
    uses_token_rewards: ClassVar[bool] = True

    gamma: float = 1.0
    """Discount from token to token."""
    lam: float = 1.0
    """1: the return less the value; 0: one step's error. Below 1: less variance, more bias."""

    def __post_init__(self) -> None:
        if not (0 <= self.gamma <= 1 and 0 <= self.lam <= 1):
            raise InputError("gamma and lam must be between 0 and 1")

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a token, and the column `return`."""
        scored = [r for group in groups for r in group.rollouts if r.reward is not None]
        advantages = [self.of_rollout(rollout) for rollout in scored]
        for rollout in (r for group in groups for r in group.rollouts):
            rollout.advantage = None
        for rollout, white in zip(scored, whiten(advantages), strict=True):
            set_token_advantages(rollout, _by_call(rollout, white))

    def of_rollout(self, rollout: Rollout) -> Floats:
        """Advantages of its trained tokens, not whitened; also sets the column `return`."""
        rewards = np.concatenate([np.empty(0), *token_rewards(rollout)])
        values = np.concatenate([np.empty(0), *_values(rollout)])
        bootstrap = values[-1] if rollout.trajectory.truncated and len(values) else 0.0
        following = np.append(values[1:], bootstrap)[: len(values)]
        deltas = rewards + self.gamma * following - values
        advantages, later = np.empty_like(deltas), 0.0
        for t in reversed(range(len(deltas))):
            later = deltas[t] + self.gamma * self.lam * later
            advantages[t] = later
        set_token_column(rollout, "return", _by_call(rollout, advantages + values))
        return advantages


def _values(rollout: Rollout) -> list[Floats]:
    calls = trained_calls(rollout)
    return [np.asarray(s.columns["value"], np.float64)[s.trained()] for s in calls]


def _by_call(rollout: Rollout, tokens: Floats) -> list[Floats]:
    counts = [len(sampled.trained()) for sampled in trained_calls(rollout)]
    return np.split(tokens, np.cumsum(counts)[:-1]) if counts else []


PPO = AlgorithmType("ppo", "Dense rewards, or one rollout a task; needs a critic.", "ppo")
