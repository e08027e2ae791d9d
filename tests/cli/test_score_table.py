"""The table of what models reached."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from agentscope_tuner.cli.score_table import score_table
from agentscope_tuner.engine.scores import ModelScores


def test_checkpoints_of_one_run_are_told_apart_on_a_narrow_screen() -> None:
    steps = (6, 12, 16)
    models = [ModelScores(f"a-run-of-a-long-name/global_step_{step}", "", []) for step in steps]
    console = Console(file=StringIO(), width=60)
    console.print(score_table(models))
    columns = zip(*(line.split("┃")[2:5] for line in shown(console)), strict=True)
    for step, column in zip(steps, columns, strict=True):
        assert "".join(part.strip() for part in column).endswith(f"global_step_{step}")


def shown(console: Console) -> list[str]:
    """The lines of the table's head."""
    file = console.file
    assert isinstance(file, StringIO)
    return [line for line in file.getvalue().splitlines() if line.startswith("┃")]
