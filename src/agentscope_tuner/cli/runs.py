"""`astuner runs`: a table of runs, how far they are and what they reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.engine.runs import RunRow


def runs(
    directory: Annotated[
        Path, typer.Argument(help="A directory of projects, a project, or one run.")
    ] = Path("checkpoints"),
) -> None:
    """List the runs in a directory: their state, how far they are, and their rewards.

    **Example:** `astuner runs`
    """
    from agentscope_tuner.engine.runs import find_runs

    Console().print(runs_table(find_runs(directory)))


def runs_table(rows: Sequence[RunRow]) -> Table:
    """One line a run."""
    table = Table("run", "state", "step", "best evaluation", "training", "changed")
    for row in rows:
        best = (f"{name} {reward:.3f} at {step}" for name, (reward, step) in row.best.items())
        table.add_row(
            escape(visible(row.name)),
            row.status,
            f"{row.step}/{'?' if row.total_steps is None else row.total_steps}",
            escape(visible("\n".join(best))) or "-",
            _training_text(row),
            f"{row.changed:%Y-%m-%d %H:%M}",
        )
    for column in (table.columns[2], table.columns[4]):
        column.justify = "right"
    return table


def _training_text(row: RunRow) -> str:
    if row.training is None:
        return "-"
    from agentscope_tuner.monitor.summary import REWARD

    key, value = row.training
    return f"{value:.3f}" if key == REWARD else f"{key} {value:.3f}"
