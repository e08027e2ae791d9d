"""Rewards from which nothing can be learnt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from agentscope_tuner.runs.diagnosis.case import WINDOW, Case, answer, preview, span
from agentscope_tuner.runs.diagnosis.finding import Finding

UNIFORM = 0.9
"""Share of groups without two different rewards above which a step teaches too little."""


def constant_reward(case: Case) -> Iterator[Finding]:
    """Every reward of the run is the same."""
    low, high = case.values("reward/min"), case.values("reward/max")
    values = {value for _, value in [*low, *high]}
    if len(low) < WINDOW or len(values) != 1:
        return
    rewarded = [pair for pair in case.last_sample if pair[1]["reward"] is not None][:2]
    yield Finding(
        "constant-reward",
        "high",
        f"Every reward so far is {values.pop():g}: nothing tells good answers from bad ones, so "
        "nothing is learnt.",
        f"reward/min equals reward/max in {span([step for step, _ in low])}",
        "See what the judge makes of an answer with `astuner check`, or take tasks that the model "
        "solves now and then.",
        case.seen(
            [row for row, _ in rewarded],
            [
                f"reward {stored['reward']:g} for {preview(answer(stored))}"
                for _, stored in rewarded
            ],
        ),
    )


def uniform_groups(case: Case) -> Iterator[Finding]:
    """Hardly any group has two different rewards, step after step."""
    steps = case.steps[-WINDOW:]
    rewards = case.columns["reward"]
    everything = rewards[case.rows(case.steps)]
    if (
        len(steps) < WINDOW
        or np.isnan(everything).all()
        or np.nanmin(everything) == np.nanmax(everything)
    ):
        return  # `constant_reward` says it
    rows = case.rows(steps)
    rows = rows[~np.isnan(rewards[rows])]
    groups = case.groups(rows)
    count = int(groups.max(initial=-1)) + 1
    if not count or np.bincount(groups).max() < 2:
        return
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest, groups, rewards[rows])
    np.maximum.at(highest, groups, rewards[rows])
    same = lowest == highest
    if same.mean() <= UNIFORM:
        return
    mean, low, high = float(lowest[same].mean()), np.nanmin(everything), np.nanmax(everything)
    at = (mean - low) / (high - low)
    if at < 0.25:
        why, do = "too hard for it", "Take easier tasks, or begin with demonstrations (sft)."
    elif at > 0.75:
        why, do = "too easy for it", "Take harder tasks: on these there is little left to learn."
    else:
        why, do = (
            "all alike to the judge",
            "Take a reward with more values, or a larger group_size.",
        )
    learnt = at > 0.75 and case.reward_rose
    yield Finding(
        "uniform-groups",
        "low" if learnt else "high",
        f"In {same.mean():.0%} of the groups all rollouts have the same reward: the tasks are "
        f"{why}.",
        f"group/uniform {int(same.sum())} of {count} groups in {span(steps)}, with a mean reward "
        f"of {mean:.3g} where {low:.3g} to {high:.3g} were seen",
        do,
        case.seen(rows[np.isin(groups, np.flatnonzero(same)[:1])][:2].tolist()),
    )
