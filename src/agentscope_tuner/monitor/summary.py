"""What a run came to, shown when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

_EVAL = "eval/"
_MEAN = "/reward/mean"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Rewards before and after, and where everything is."""

    rewards: Mapping[str, tuple[float, float]]
    """First and last mean reward: of each evaluation set by its name, and of `training`; what was
    measured only once is left out."""
    paths: Mapping[str, Path] = field(default_factory=dict)
    """What was written, each by a word or two that say what it is."""

    @classmethod
    def of(cls, records: Sequence[Mapping[str, float]], paths: Mapping[str, Path]) -> RunSummary:
        """Take the rewards from the records of a `metrics.jsonl`, evaluations first."""
        keys = dict.fromkeys(key for record in records for key in record if _is_reward(key))
        rewards = {}
        for key in sorted(keys, key=lambda key: key == "reward/mean"):
            values = [
                record[key] for record in records if not math.isnan(record.get(key, math.nan))
            ]
            if len(values) > 1:
                rewards[reward_name(key)] = (values[0], values[-1])
        return cls(rewards, paths)

    def table(self) -> Table:
        """One row a reward: before, after, change."""
        table = Table("mean reward", "before", "after", "change")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, (before, after) in self.rewards.items():
            table.add_row(name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
        return table


def reward_name(key: str) -> str:
    """`training` for `reward/mean`, the set's name for `eval/<name>/reward/mean`."""
    return key.removeprefix(_EVAL).removesuffix(_MEAN) if key.startswith(_EVAL) else "training"


def eval_rewards(metrics: Mapping[str, float]) -> dict[str, float]:
    """Mean reward of each evaluation set in `metrics`, by its name."""
    return {
        reward_name(key): value
        for key, value in metrics.items()
        if _is_reward(key) and key.startswith(_EVAL)
    }


def _is_reward(key: str) -> bool:
    return key == "reward/mean" or (key.startswith(_EVAL) and key.endswith(_MEAN))
