"""Rewards that are learnt, from the rollout's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.base import Operator, reward_of, statistic
from agentscope_tuner.registry import check_arguments
from agentscope_tuner.trajectory import RolloutGroup

_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "ADD": lambda reward, by: reward + by,
    "SUB": lambda reward, by: reward - by,
    "MUL": lambda reward, by: reward * by,
    "DIV": lambda reward, by: reward / by if by else reward,
}


@dataclass
class RewardShaping(Operator):
    """reward <- reward op (weight * number), one rule after another.

    A rule is passed over where a rollout has no such number, or would be divided by 0.
    """

    name: ClassVar[str] = "reward_shaping_mapper"

    reward_shaping_configs: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """Rules: `stats_key` (a metric of workflow or judge, `response_tokens` or `turns`), `op_type`
    (ADD, SUB, MUL or DIV; ADD) and `weight` (1)."""

    def __post_init__(self) -> None:
        if not self.reward_shaping_configs:
            raise InputError("reward_shaping_mapper does nothing without reward_shaping_configs.")
        for rule in self.reward_shaping_configs:
            check_arguments(
                "reward_shaping_configs", "a rule", rule, ("stats_key", "op_type", "weight")
            )
            operation = rule.get("op_type", "ADD")
            if "stats_key" not in rule or operation not in _OPERATIONS:
                raise InputError(
                    "A rule of reward_shaping_configs has a stats_key, and an op_type that is one "
                    f"of {', '.join(_OPERATIONS)}, not {operation!r}."
                )

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Shape the rewards."""
        for group in groups:
            for rollout in group.rollouts:
                for rule in self.reward_shaping_configs:
                    reward, number = reward_of(rollout), statistic(rollout, rule["stats_key"])
                    if reward is not None and number is not None:
                        by = rule.get("weight", 1.0) * number
                        operation = _OPERATIONS[rule.get("op_type", "ADD")]
                        rollout.shaped_reward = operation(reward, by)

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Nothing of its own: `reward/learnt` says what came of it."""
        return {}
