"""What a run came to, shown when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from rich.markup import escape
from rich.table import Table

from agentscope_tuner.visible import visible

REWARD = "reward/mean"
LOSS = "policy/loss"
"""What training on demonstrations has in place of a reward."""
_EVAL = "eval/"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What changed between the beginning and the end, and where everything is."""

    changes: Mapping[str, tuple[float, float]]
    """First and last value of each evaluation's mean reward; means over the first and the last
    quarter of the steps of training's, or of its loss, as each step has tasks of its own. What was
    measured only once is left out."""
    paths: Mapping[str, Path] = field(default_factory=dict)
    """What was written, each by a word or two that say what it is."""

    @classmethod
    def of(cls, records: Sequence[Mapping[str, float]], paths: Mapping[str, Path]) -> RunSummary:
        """Take the changes from the records of a `metrics.jsonl`, evaluations first."""
        evaluations = dict.fromkeys(name for record in records for name in eval_rewards(record))
        names = {f"{_EVAL}{name}/{REWARD}": f"{name}: reward" for name in evaluations}
        changes = {}
        for key, name in names.items():
            known = _known(records, key)
            if len(known) > 1:
                changes[name] = (known[0], known[-1])
        key = training_key(records)
        trained = _known(records, key)
        if len(trained) > 1:
            few = -(-len(trained) // 4)
            name = f"training: {'loss' if key == LOSS else 'reward'}"
            name += f", {few} steps" if few > 1 else ""
            changes[name] = (fmean(trained[:few]), fmean(trained[-few:]))
        return cls(changes, paths)

    def table(self) -> Table:
        """One row a change: before, after, difference."""
        table = Table("mean", "before", "after", "change")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, (before, after) in self.changes.items():
            table.add_row(
                escape(visible(name)), f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"
            )
        return table


def _known(records: Sequence[Mapping[str, float]], key: str) -> list[float]:
    return [r[key] for r in records if key in r and not math.isnan(r[key])]


def training_key(records: Sequence[Mapping[str, float]]) -> str:
    """The metric that training is about: the mean reward, or the loss if no record has a reward."""
    rewarded = any(REWARD in record for record in records)
    return LOSS if not rewarded and any(LOSS in record for record in records) else REWARD


def eval_rewards(metrics: Mapping[str, float]) -> dict[str, float]:
    """Mean reward of each evaluation set in `metrics`, by its name."""
    return {
        key.removeprefix(_EVAL).removesuffix(f"/{REWARD}"): value
        for key, value in metrics.items()
        if key.startswith(_EVAL) and key.endswith(f"/{REWARD}")
    }
