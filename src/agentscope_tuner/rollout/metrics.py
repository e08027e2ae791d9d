"""Metrics of a step's rollouts.

| key | meaning |
| --- | --- |
| `reward/mean`, `/std`, `/min`, `/max` | over the rollouts that did not fail (absent: all failed) |
| `rollout/count` | rollouts, failed ones included |
| `rollout/failed`, `rollout/failed/<kind>` | how many failed for good |
| `rollout/retries` | attempts beyond the first |
| `rollout/truncated` | rollouts in which a length limit cut or refused a call |
| `rollout/overflows` | calls refused because their prompt was too long |
| `rollout/turns` | mean number of model calls, over rollouts with any; so are the next two |
| `rollout/prompt_tokens`, `rollout/response_tokens` | mean number of tokens given and sampled |
| `rollout/response_tokens/max` | the most that one rollout sampled |
| `rollout/branches`, `rollout/branches/<cause>` | calls that did not extend earlier tokens |
| `rollout/seconds`, `rollout/seconds/max` | mean and longest time a rollout took |
| `rollout/seconds/calling` | in which at least one of their calls was being answered |
| `group/uniform` | groups without two different rewards: nothing to tell good from bad by |
| `workflow/<name>`, `judge/<name>` | means of the user's metrics, over rollouts that report them |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import get_args

import numpy as np

from agentscope_tuner.trajectory import ErrorKind, Rollout, RolloutGroup


def summarize(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """One number for each key of this module's table."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return {
        **_rewards([reward for group in groups for reward in group.rewards]),
        **_outcomes(rollouts),
        **_conversations([rollout for rollout in rollouts if rollout.trajectory.calls]),
        "group/uniform": float(sum(len(set(group.rewards)) < 2 for group in groups)),
        **_user_metrics(rollouts),
    }


def lag(groups: Sequence[RolloutGroup], version: int) -> dict[str, float]:
    """How many updates the weights of version `version` are ahead of those that drew each token:
    `policy/lag`, its mean, and `policy/lag_max`. Nothing was sampled: neither."""
    lags = [
        version - drawn_by
        for group in groups
        for rollout in group.rollouts
        for segment in rollout.trajectory.sampled_segments()
        if segment.sampled is not None
        for drawn_by in segment.sampled.token_versions()
    ]
    if not lags:
        return {}
    return {"policy/lag": float(np.mean(lags)), "policy/lag_max": float(max(lags))}


def _rewards(rewards: list[float]) -> dict[str, float]:
    if not rewards:
        return {}
    return {
        "reward/mean": float(np.mean(rewards)),
        "reward/std": float(np.std(rewards)),
        "reward/min": min(rewards),
        "reward/max": max(rewards),
    }


def _outcomes(rollouts: list[Rollout]) -> dict[str, float]:
    failed = Counter(rollout.error.kind for rollout in rollouts if rollout.error is not None)
    seconds = [rollout.seconds for rollout in rollouts] or [0.0]
    return {
        "rollout/count": float(len(rollouts)),
        "rollout/failed": float(failed.total()),
        **{f"rollout/failed/{kind}": float(failed[kind]) for kind in get_args(ErrorKind)},
        "rollout/retries": float(sum(rollout.attempts - 1 for rollout in rollouts)),
        "rollout/truncated": float(sum(rollout.trajectory.truncated for rollout in rollouts)),
        "rollout/overflows": float(sum(rollout.trajectory.overflows for rollout in rollouts)),
        "rollout/seconds": float(np.mean(seconds)),
        "rollout/seconds/max": max(seconds),
        "rollout/seconds/calling": _seconds_calling(rollouts),
    }


def _seconds_calling(rollouts: list[Rollout]) -> float:
    """How long at least one call was under way, of those that are recorded."""
    calls = (call for rollout in rollouts for call in rollout.trajectory.calls)
    seconds = until = 0.0
    for began, ended in sorted((call.began, call.began + call.seconds) for call in calls):
        seconds += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return seconds


def _conversations(rollouts: list[Rollout]) -> dict[str, float]:
    trajectories = [rollout.trajectory for rollout in rollouts]
    sampled = [trajectory.sampled_tokens for trajectory in trajectories]
    stored = [sum(len(segment.token_ids) for segment in t.segments) for t in trajectories]
    branches = Counter(call.branch for t in trajectories for call in t.calls if call.branch)
    metrics = {"rollout/branches": float(branches.total())}
    metrics |= {f"rollout/branches/{cause}": float(n) for cause, n in sorted(branches.items())}
    if trajectories:
        metrics |= {
            "rollout/turns": float(np.mean([len(t.calls) for t in trajectories])),
            "rollout/prompt_tokens": float(np.mean(stored) - np.mean(sampled)),
            "rollout/response_tokens": float(np.mean(sampled)),
            "rollout/response_tokens/max": float(max(sampled)),
        }
    return metrics


def _user_metrics(rollouts: list[Rollout]) -> dict[str, float]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for rollout in rollouts:
        for name, value in rollout.metrics.items():
            values[name].append(value)
    return {name: float(np.mean(numbers)) for name, numbers in sorted(values.items())}
