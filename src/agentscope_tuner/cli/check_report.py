"""What `astuner check` has found: one rollout whole, several as a table."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.cli.shown_rollout import show_rollout
from agentscope_tuner.engine.check import Checked
from agentscope_tuner.inference.memory import as_text
from agentscope_tuner.runs.index import task_preview
from agentscope_tuner.trajectory import Rollout, RolloutGroup
from agentscope_tuner.visible import visible

SHOWN = 5
"""Duplicates that are named."""


def show(checked: Checked, console: Console) -> None:
    """Print it."""
    if len(checked.rollouts) == 1:
        [rollout] = checked.rollouts
        task = json.dumps(rollout.task, ensure_ascii=False, default=str)  # dates, images
        console.print(f"[bold]task[/] {escape(visible(task))}", highlight=False)
        show_rollout(rollout, checked.tokenizer, console)
    else:
        console.print(_table(checked))
        for line in _lines(checked):
            console.print(visible(line), markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"memory: tuning takes about {as_text(checked.needs)}; "
        f"{checked.free / 1e9:.1f} GB are free on {checked.device}",
        highlight=False,
    )


def plain(checked: Checked) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "groups": [
            {"task": group.task, "rollouts": [_rollout(rollout) for rollout in group.rollouts]}
            for group in checked.groups
        ],
        "teaching": checked.teaching,
        "failures": dict(checked.failures),
        "truncated": checked.truncated,
        "reward_by_length": checked.reward_by_length,
        "duplicates": [
            {"about": duplicate.about, "set": duplicate.set, "whole": duplicate.whole}
            for duplicate in checked.duplicates
        ],
        "memory": {"needs": dict(checked.needs), "free": checked.free, "device": checked.device},
    }


def _rollout(rollout: Rollout) -> dict[str, Any]:
    error = rollout.error and {"kind": rollout.error.kind, "message": rollout.error.message}
    return {
        "id": rollout.id,
        "reward": rollout.reward,
        "error": error,
        "response": rollout.response,
        "explanation": rollout.explanation,
        "metrics": rollout.metrics,
        "tokens": rollout.trajectory.sampled_tokens,
        "turns": len(rollout.trajectory.calls),
        "truncated": rollout.trajectory.truncated,
        "seconds": rollout.seconds,
    }


def _table(checked: Checked) -> Table:
    table = Table("task", "mean", "rewards", "tokens")
    for column in table.columns[1:]:
        column.justify = "right"
    for group in checked.groups:
        rewards = " ".join(_reward(rollout) for rollout in group.rollouts)
        tokens = sum(r.trajectory.sampled_tokens for r in group.rollouts) / len(group.rollouts)
        about = escape(visible(task_preview(group.task)[:48]))
        table.add_row(about, _mean(group), rewards, f"{tokens:.0f}")
    return table


def _reward(rollout: Rollout) -> str:
    if rollout.error is not None:
        return "failed"
    return f"{rollout.reward:.3g}" + ("…" if rollout.trajectory.truncated else "")


def _mean(group: RolloutGroup) -> str:
    rewards = group.rewards
    return f"{sum(rewards) / len(rewards):.3f}" if rewards else "-"


def _lines(checked: Checked) -> list[str]:
    groups, rollouts = len(checked.groups), checked.rollouts
    lines = [
        f"groups that teach: {checked.teaching} of {groups} (in the others all rewards are the "
        "same)"
    ]
    if checked.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(checked.failures.items()))
        first = next(rollout.error for rollout in rollouts if rollout.error is not None)
        lines.append(f"failed: {checked.failures.total()} of {len(rollouts)} ({kinds}); the first:")
        lines += (first.traceback.strip() or first.message).splitlines()
    if checked.truncated:
        lines.append(f"cut off by a length limit (…): {checked.truncated} of {len(rollouts)}")
    if not isnan(checked.reward_by_length):
        lines.append(
            f"reward against length: correlation {checked.reward_by_length:+.2f} in groups"
        )
    if checked.duplicates:
        whole = sum(duplicate.whole for duplicate in checked.duplicates)
        lines.append(
            f"held-out tasks that are trained on, too: {len(checked.duplicates)} by their first "
            f"text, {whole} of them whole"
        )
        lines += [f"  {d.set}: {d.about}" for d in checked.duplicates[:SHOWN]]
    return lines
