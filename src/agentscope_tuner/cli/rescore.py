"""`astuner rescore`: the rollouts of a run under another judge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.cli.options import AsJson, EvaluationSet, Judge, RunDirectory
from agentscope_tuner.errors import RunError
from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.rollout.estimate import Estimate
    from agentscope_tuner.runs.rescored import Rescored

SHOWN = 10
"""Rollouts that moved; `--json` has more."""


def rescore(
    directory: RunDirectory,
    judge: Judge,
    step: Annotated[
        int | None, typer.Option(help="Only this step. Default: all.", show_default=False)
    ] = None,
    evaluation: EvaluationSet = None,
    as_json: AsJson = False,
) -> None:
    """Judge a run's recorded rollouts by another judge, without running the workflow again.

    Shows the rewards of both, how far they agree on the order, how many groups teach something
    under each, and the rollouts that moved most. Nothing is written into the run. Ends with 1 if
    the judge failed on every rollout.

    **Example:** `astuner rescore checkpoints/AgentScope/first --judge other.py:judge --step 12`
    """
    from agentscope_tuner.cli.machine import machine_output, print_json
    from agentscope_tuner.cli.options import loaded
    from agentscope_tuner.config.resolve import resolve
    from agentscope_tuner.engine.rescore import rescore as judge_again
    from agentscope_tuner.event_loop import run_to_completion
    from agentscope_tuner.runs.files import CONFIG_FILE, RunFiles
    from agentscope_tuner.runs.listing import find_run
    from agentscope_tuner.workflow import check_judge_function

    run = find_run(directory).directory
    config = resolve(config_path=run / CONFIG_FILE)
    os.environ.update(config.explorer.env_vars)  # before the judge's file is imported
    with machine_output(as_json) as out:
        judge_func = loaded(judge)
        check_judge_function(judge_func)
        work = judge_again(RunFiles(run), config, judge_func, step=step, evaluation=evaluation)
        found = run_to_completion(work)
        if as_json:
            print_json(found.plain(), out)
        else:
            _show(found, Console())
    first = next((one.error for one in found.rollouts if one.error is not None), None)
    if first is not None and not found.both:
        raise RunError(
            f"The judge failed on each of {len(found.rollouts)} rollouts ({first.kind}): "
            f"{first.message}"
        )


def _show(found: Rescored, console: Console) -> None:
    table = Table("", "recorded", "other judge")
    for column in table.columns[1:]:
        column.justify = "right"
    rewards = (_plus_minus(found.reward(which)) for which in ("before", "after"))
    table.add_row(f"reward of {len(found.both)} rollouts", *rewards)
    teaching = (str(found.teaching(which)) for which in ("before", "after"))
    table.add_row(f"groups that teach, of {found.groups}", *teaching)
    table.add_row("failed", str(found.without_reward), _failures(found))
    console.print(table)
    lines = [
        f"order of all rewards: rank correlation {found.spearman:+.2f} (Spearman)",
        f"order in groups, which is learnt from: {found.kendall_in_groups:+.2f} (Kendall's tau-b)",
        f"another reward: {len(found.moved)} of {len(found.both)} rollouts",
    ]
    if found.as_text:
        lines.append(
            f"{found.as_text} responses are recorded as text alone: the judge was given a message "
            "of that text"
        )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.moved:
        console.print(_moved(found))


def _moved(found: Rescored) -> Table:
    table = Table("rollout", "task", "recorded", "other", "answer")
    for one in found.moved[:SHOWN]:
        said = " ".join(one.answer.split())[:160]
        why = f"\n{' '.join(one.explanation.split())[:160]}" if one.explanation else ""
        cells = (one.id, one.about, f"{one.before:.3g}", f"{one.after:.3g}", f"{said}{why}")
        table.add_row(*(escape(visible(cell)) for cell in cells))
    left = len(found.moved) - SHOWN
    if left > 0:
        table.caption = f"and {left} more"
    return table


def _plus_minus(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ± {estimate.standard_error:.3f}"


def _failures(found: Rescored) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.failures.items()))
    return f"{found.failures.total()} ({kinds})" if kinds else "0"
