"""An audit for reward hacking: the reward has come to follow something that is not the task.

Such signs audit afterwards; they give no reliable early warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.runs.diagnosis.case import Case, Rows, span
from agentscope_tuner.runs.diagnosis.finding import Finding
from agentscope_tuner.runs.estimates import within_groups

FOLLOWS = 0.8
"""Correlation within groups."""
ROSE = 0.3
"""By how much it has to be higher than in the beginning."""
LONGER = 1.2
"""Times as long as in the beginning."""
_ENOUGH = 12
"""Rollouts."""


def follows_length(case: Case) -> Iterator[Finding]:
    """Longer answers earn more, and answers have become longer."""
    if not case.reward_rose:
        return
    tokens = case.columns["tokens"].astype(float)
    before, after = (_with_tokens(case, case.rows(steps)) for steps in (case.early, case.late))
    then, now = (
        float(tokens[case.rows(case.early)].mean()),
        float(tokens[case.rows(case.late)].mean()),
    )
    if not _came_to_follow(before, after) or now <= LONGER * then:
        return
    rows = case.rows(case.late)
    yield Finding(
        "reward-follows-length",
        "medium",
        "The reward has come to follow the length of the answers, which grow.",
        f"correlation within groups {before:.2f} in {span(case.early)}, {after:.2f} in "
        f"{span(case.late)}; {then:.0f} tokens then, {now:.0f} now",
        "Read the longest answers: if length is not what you reward, make the judge count it.",
        case.seen(rows[np.argsort(-tokens[rows])][:3].tolist()),
    )


def follows_metric(case: Case) -> Iterator[Finding]:
    """One of the judge's several metrics has come to decide the reward."""
    if not case.reward_rose:
        return
    first, last = _metrics(case.first_sample), _metrics(case.last_sample)
    if len(last) < 2:
        return
    for name in sorted(first.keys() & last.keys()):
        before, after = (_within_groups(case, *sample[name]) for sample in (first, last))
        if not _came_to_follow(before, after):
            continue
        rows = np.array([row for row, _ in case.last_sample])
        yield Finding(
            "reward-follows-metric",
            "medium",
            f"The reward has come to follow {name} alone.",
            f"correlation within groups {before:.2f} in step {case.steps[0]}, {after:.2f} in step "
            f"{case.steps[-1]}",
            f"Read answers with a high {name}: if they are no better, give it less weight.",
            case.seen(rows[np.argsort(-case.columns["reward"][rows])][:3].tolist()),
        )


def _came_to_follow(before: float, after: float) -> bool:
    return after >= FOLLOWS and after - before >= ROSE


def _metrics(
    sample: Sequence[tuple[int, dict[str, Any]]],
) -> dict[str, tuple[Rows, NDArray[np.float64]]]:
    """The judge's metrics: the rows that have each, and its values."""
    names = dict.fromkeys(
        name for _, stored in sample for name in stored["metrics"] if name.startswith("judge/")
    )
    found = {}
    for name in names:
        pairs = [(row, s["metrics"][name]) for row, s in sample if name in s["metrics"]]
        found[name] = np.array([row for row, _ in pairs]), np.array([v for _, v in pairs], float)
    return found


def _with_tokens(case: Case, rows: Rows) -> float:
    return _within_groups(case, rows, case.columns["tokens"][rows].astype(float))


def _within_groups(case: Case, rows: Rows, values: NDArray[np.float64]) -> float:
    """The correlation with the reward; 0 if either does not vary, or of too few rollouts."""
    rewards = case.columns["reward"][rows].astype(float)
    known = ~np.isnan(rewards) & np.isfinite(values)
    if known.sum() < _ENOUGH:
        return 0.0
    found = within_groups(case.groups(rows[known]), values[known], rewards[known])
    return 0.0 if isnan(found) else found
