"""The operators of a configuration, by their names, and all of them in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.base import Operator, is_learnt, reward_of
from agentscope_tuner.experience.dynamic_sampling import DynamicSampling
from agentscope_tuner.experience.invalid_reward_filter import InvalidRewardFilter
from agentscope_tuner.experience.mask_truncated import MaskTruncated
from agentscope_tuner.experience.overlong_penalty import OverlongPenalty
from agentscope_tuner.experience.pass_rates import PassRateCalculator
from agentscope_tuner.experience.reward_filter import RewardFilter
from agentscope_tuner.experience.reward_shaping import RewardShaping
from agentscope_tuner.experience.reward_std_filter import RewardStdFilter
from agentscope_tuner.registry import Registry, made
from agentscope_tuner.trajectory import RolloutGroup

_OWN: tuple[type[Operator], ...] = (
    RewardFilter,
    RewardStdFilter,
    InvalidRewardFilter,
    DynamicSampling,
    MaskTruncated,
    OverlongPenalty,
    RewardShaping,
    PassRateCalculator,
)
OPERATORS: Registry[type[Operator]] = Registry(
    "operator", "agentscope_tuner.operators", {operator.name: operator for operator in _OWN}
)
"""Every operator."""


def make_operator(name: str, args: Mapping[str, Any]) -> Operator:
    """The operator of this name.

    Raises InputError: an unknown name or argument (the message lists the known ones), a missing
    one, or a value that makes no sense.
    """
    if name == "data_juicer":
        raise InputError(
            "operator data_juicer is not served: Data-Juicer is not called; an operator of your "
            "own may call it (docs/your_own_parts.md)"
        )
    kind = OPERATORS.find(name)
    if not (isinstance(kind, type) and issubclass(kind, Operator)):
        raise InputError(f"operator {name} is no Operator")
    return made("operator", name, kind, args)


class Operators:
    """Operators in the order in which they look at what was drawn."""

    def __init__(self, operators: Sequence[Operator] = ()) -> None:
        self._operators = list(operators)

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Let all of them mark what was just drawn for a step."""
        for operator in self._operators:
            operator(groups)

    def missing(self, groups: Sequence[RolloutGroup], wanted: int, rounds: int) -> int:
        """How many groups are to be drawn in place of those left out, so that there are `wanted`,
        after so many rounds of that."""
        replacing = {operator.name for operator in self._operators if rounds < operator.replaces}
        there = sum(
            is_learnt(group) or all(r.left_out not in replacing for r in group.rollouts)
            for group in groups
        )
        return max(0, wanted - there)

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Those of each, and the mean reward that is learnt if any was shaped: `reward/learnt`."""
        metrics: dict[str, float] = {}
        for operator in self._operators:
            metrics |= operator.metrics(groups)
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        if any(rollout.shaped_reward is not None for rollout in rollouts):
            found = [reward_of(rollout) for rollout in rollouts]
            rewards = [reward for reward in found if reward is not None]
            metrics["reward/learnt"] = sum(rewards) / len(rewards)
        return metrics

    def state_dict(self) -> list[dict[str, Any]]:
        """What each of them remembers."""
        return [operator.state_dict() for operator in self._operators]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Go on where `state_dict` was taken, with the same operators."""
        for operator, own in zip(self._operators, state, strict=True):
            operator.load_state_dict(own)
