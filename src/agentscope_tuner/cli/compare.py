"""`astuner compare`: runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.cli.options import AsJson
from agentscope_tuner.errors import InputError
from agentscope_tuner.visible import visible

if TYPE_CHECKING:
    from agentscope_tuner.runs.comparison import Comparison, SetChange

SHOWN = 10
"""Flipped tasks of a set; `--json` has more."""


def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            help="Run directories, the first of which is the baseline.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what differs between runs, their curves, and the change on held-out tasks.

    The change is taken task by task between the last evaluations, with its standard error; tasks
    that flipped come with an answer of each run.

    **Example:** `astuner compare checkpoints/AgentScope/first checkpoints/AgentScope/second`
    """
    from agentscope_tuner.cli.machine import print_json
    from agentscope_tuner.runs import comparison
    from agentscope_tuner.runs.files import RunFiles
    from agentscope_tuner.runs.listing import find_run

    if len(directories) < 2:
        raise InputError("Name two runs or more to compare.")
    rows = [find_run(directory) for directory in directories]
    names = [row.name for row in rows]
    if len({*names}) < len(names):
        names = [str(row.directory) for row in rows]
    if len({*names}) < len(names):
        raise InputError("Name different runs: one of these is there twice.")
    runs = {name: RunFiles(row.directory) for name, row in zip(names, rows, strict=True)}
    found = comparison.compare(runs)
    if as_json:
        print_json(found.plain())
        return
    console = Console()
    for part in (_differences(found), _curves(found), *map(_change, found.changes)):
        console.print(part, highlight=False)
    if not found.changes:
        console.print("There is no evaluation set that the runs share.")


def _cell(value: Any) -> str:
    return "-" if value is None else escape(visible(str(value)))


def _differences(found: Comparison) -> Table | str:
    if not found.differs:
        return "Nothing differs in the configurations."
    table = Table("configuration", *map(_cell, found.curves), title_justify="left")
    table.columns[0].overflow = "fold"  # a key that is cut off names nothing
    for key, values in found.differs.items():
        table.add_row(_cell(key), *(_cell(values[name]) for name in found.curves))
    return table


def _curves(found: Comparison) -> Table:
    from agentscope_tuner.monitor.text import sparkline

    table = Table("training", "curve", "first", "last", "steps", "trained tokens", "minutes")
    table.columns[0].overflow = "fold"  # a name is never cut off
    for column in table.columns[2:]:
        column.justify = "right"
    for name, curve in found.curves.items():
        known = [value for value in curve.values if value == value]
        ends = (f"{known[0]:.3f}", f"{known[-1]:.3f}") if known else ("-", "-")
        costs = ("-", "-", "-")
        if curve.steps:
            last = curve.steps[-1]
            costs = (str(last), f"{curve.tokens[-1]:,.0f}", f"{curve.minutes[-1]:.1f}")
        label = _cell(name) if curve.metric == "reward/mean" else f"{_cell(name)}: {curve.metric}"
        table.add_row(label, sparkline(known[-40:]), *ends, *costs)
    return table


def _change(change: SetChange) -> RenderableType:
    verdict = "" if change.tells_apart else "; these tasks cannot tell the two apart"
    title = (
        f"{_cell(change.run)} on {_cell(change.set)}: {change.mean:+.3f} ± {change.error:.3f} over "
        f"{change.tasks} tasks (steps {change.steps[0]}, {change.steps[1]}){verdict}"
    )
    if not change.flipped:
        return title
    table = Table("task", "before", "after", "answers")
    for flip in change.flipped[:SHOWN]:
        before, after = (" ".join(visible(text).split())[:160] for text in flip.answers)
        answers = escape(f"{before}\n{after}")
        table.add_row(_cell(flip.about), *(f"{reward:.3f}" for reward in flip.rewards), answers)
    left = len(change.flipped) - SHOWN
    if left > 0:
        table.caption = f"and {left} more"
    return Group(title, table)
