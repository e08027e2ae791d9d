"""`astuner show`: rollouts of a run in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from agentscope_tuner.cli.options import EvaluationSet, RunDirectory
from agentscope_tuner.errors import InputError
from agentscope_tuner.visible import visible

if TYPE_CHECKING:
    from agentscope_tuner.viewer.library import Library, Run


def show(
    directory: RunDirectory,
    step: Annotated[
        int | None,
        typer.Option(help="Which step. Default: the last that has rollouts.", show_default=False),
    ] = None,
    evaluation: EvaluationSet = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the lowest rewards.")] = 0,
    best: Annotated[int, typer.Option(min=0, help="How many of the highest rewards.")] = 0,
    where: Annotated[
        str,
        typer.Option(
            "--filter", metavar="FILTER", help='As in the viewer, e.g. `turns>3 error:any "sorry"`.'
        ),
    ] = "",
) -> None:
    """Print rollouts of a run: conversation, tokens, reward. Without numbers: the worst one.

    A failed rollout counts as worse than any reward.

    **Example:** `astuner show checkpoints/AgentScope/first --step 12 --worst 3`
    """
    from agentscope_tuner.cli.shown_rollout import show_rollout
    from agentscope_tuner.runs.encoding import rollout_of
    from agentscope_tuner.viewer.library import Library

    library = Library(directory)
    names = list(library.rows())
    if len(names) != 1:
        raise InputError(f"{directory} has {len(names)} runs: name one of them.")
    run = library.run(names[0])
    if not worst and not best:
        worst = 1
    console = Console()
    if run.vocabulary.missing:
        note = f"note: {run.directory} has no tokenizer: tokens are shown as their ids."
        Console(stderr=True).print(note, markup=False, highlight=False, soft_wrap=True)
    lines = _chosen(library, run, step, evaluation, where, worst, best)
    for line, stored in zip(lines, library.frames.rollouts(run.directory, lines), strict=True):
        rollout = rollout_of(stored)
        where_from = f"{line['set']} after step" if line["set"] else "step"
        console.rule(visible(f"{line['id']} ({where_from} {line['step']})"))
        show_rollout(rollout, run.vocabulary, console)
        for said in rollout.log:
            console.print(visible(f"{said.level}: {said.text}"), markup=False, highlight=False)


def _chosen(
    library: Library,
    run: Run,
    step: int | None,
    evaluation: str | None,
    where: str,
    worst: int,
    best: int,
) -> list[dict[str, Any]]:
    """Lines of the index, the worst first. Raises InputError if there are none."""
    import numpy as np

    from agentscope_tuner.viewer.pages.rollouts import find

    run.table.refresh()
    columns = run.table.columns
    among = columns["set"] == run.table.code("set", evaluation)
    if step is None and among.any():
        step = int(columns["step"][among].max())
    rows, _ = find(library, run, where, np.flatnonzero(among & (columns["step"] == step)))
    if not len(rows):
        raise InputError(f"{run.directory} has no such rollouts (step {step}, set {evaluation}).")
    rewards = np.nan_to_num(columns["reward"][rows].astype(float), nan=-np.inf)
    order = rows[np.argsort(rewards, kind="stable")]
    chosen = dict.fromkeys([*order[:worst].tolist(), *order[len(order) - best :].tolist()])
    return run.table.lines(chosen)
