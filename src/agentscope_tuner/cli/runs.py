"""`astuner runs`: a table of runs, how far they are and what they reached."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.cli.options import AsJson
from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.runs.listing import RunRow


WIDE = 240
"""Columns of a table that no terminal shows."""


def runs(
    directory: Annotated[
        Path, typer.Argument(help="A directory of projects, a project, or one run.")
    ] = Path("checkpoints"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a directory: their state, how far they are, and their rewards.

    **Example:** `astuner runs`
    """
    from agentscope_tuner.cli.machine import print_json
    from agentscope_tuner.runs.listing import find_runs

    rows = find_runs(directory)
    if as_json:
        print_json([_plain(row) for row in rows])
    else:
        console = Console()
        # A pipe has no width: nothing is wrapped there.
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = WIDE
        console.print(runs_table(rows))


def _plain(row: RunRow) -> dict[str, Any]:
    best = {name: {"reward": reward, "step": step} for name, (reward, step) in row.best.items()}
    training = row.training and {"metric": row.training[0], "value": row.training[1]}
    changed = row.changed.astimezone().isoformat(timespec="seconds")
    return {**asdict(row), "best": best, "training": training, "changed": changed}


def runs_table(rows: Sequence[RunRow]) -> Table:
    """One line a run."""
    table = Table("run", "state", "step", "best evaluation", "training", "changed")
    for row in rows:
        best = (f"{name} {reward:.3f} at {step}" for name, (reward, step) in row.best.items())
        table.add_row(
            escape(visible(row.name)),
            _state_text(row),
            f"{row.step}/{'?' if row.total_steps is None else row.total_steps}",
            escape(visible("\n".join(best))) or "-",
            _training_text(row),
            f"{row.changed:%Y-%m-%d %H:%M}",
        )
    table.columns[0].overflow = "fold"  # a name is never cut off
    for column in (table.columns[2], table.columns[4]):
        column.justify = "right"
    return table


def _state_text(row: RunRow) -> str:
    from agentscope_tuner.runs.live import in_words

    doing = "" if row.live is None else f": {in_words(row.live)}"
    return escape(visible(row.status + doing))


def _training_text(row: RunRow) -> str:
    if row.training is None:
        return "-"
    from agentscope_tuner.monitor.summary import REWARD

    key, value = row.training
    return f"{value:.3f}" if key == REWARD else f"{key} {value:.3f}"
