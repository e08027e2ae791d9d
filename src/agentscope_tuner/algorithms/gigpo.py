"""GiGPO: credit for each step of an agent, without a critic, where rollouts meet states again.

    A = A_E + omega * A_S

A_E compares the rollouts of a task by their summed rewards, as grpo does. A_S compares steps: the
discounted reward from a step on, R_t = sum of gamma^k r_{t+k}, against all steps of the group that
were taken in the same state, where there are at least two. `fnorm` none: the difference from the
mean; std: also divided by the deviation (Bessel). Feng et al., 2025 (arXiv:2505.10978).

States are compared within a task only. They come from `state_keys` of the workflow's output, one a
call, and rewards from `call_rewards`; without these the final reward counts at the last call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import ClassVar, Literal

from agentscope_tuner.algorithms.advantage import Advantage, set_token_advantages
from agentscope_tuner.algorithms.token_rewards import call_rewards
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, RolloutGroup


@dataclass(frozen=True)
class Gigpo(Advantage):
    """Advantages of `gigpo`. Raises InputError for an unknown `fnorm`."""

    name: ClassVar[str] = "gigpo"
    compares: ClassVar[bool] = True

    omega: float = 1.0
    """Weight of the steps' part."""
    gamma: float = 1.0
    """Discount from step to step."""
    fnorm: Literal["none", "std"] = "none"
    """Whether differences are divided by the deviation."""
    epsilon: float = 1e-6
    """Added to the deviation."""

    def __post_init__(self) -> None:
        if self.fnorm not in ("none", "std"):
            raise InputError(f"fnorm is {self.fnorm!r}; it must be none or std")

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a call."""
        for group in groups:
            scored = [rollout for rollout in group.rollouts if rollout.reward is not None]
            for rollout in group.rollouts:
                rollout.advantage = None
            if len(scored) > 1:
                self._score(scored)

    def _score(self, rollouts: Sequence[Rollout]) -> None:
        rewards = [call_rewards(rollout) for rollout in rollouts]
        episodes = self._compared([sum(steps) for steps in rewards])
        returns = [self._returns(steps) for steps in rewards]
        by_state: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, rollout in enumerate(rollouts):
            for step, key in enumerate(rollout.state_keys or ()):
                by_state[key].append((number, step))
        steps_part = [[0.0] * len(steps) for steps in rewards]
        for places in by_state.values():
            if len(places) > 1:
                scores = self._compared([returns[number][step] for number, step in places])
                for (number, step), score in zip(places, scores, strict=True):
                    steps_part[number][step] = score
        for rollout, episode, steps in zip(rollouts, episodes, steps_part, strict=True):
            set_token_advantages(rollout, [episode + self.omega * score for score in steps])

    def _returns(self, rewards: Sequence[float]) -> list[float]:
        returns, later = [0.0] * len(rewards), 0.0
        for step in reversed(range(len(rewards))):
            later = returns[step] = rewards[step] + self.gamma * later
        return returns

    def _compared(self, values: Sequence[float]) -> list[float]:
        center = mean(values)
        scale = stdev(values) + self.epsilon if self.fnorm == "std" else 1.0
        return [(value - center) / scale for value in values]


GIGPO = AlgorithmType("gigpo", "Agents of many steps that meet the same states again.", "gigpo")
