"""`astuner check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import AsJson, Program, Settings
from agentscope_tuner.errors import RunError

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.engine.check import Checked


def check(
    context: typer.Context,
    program: Program,
    tasks: Annotated[int, typer.Option(min=1, help="How many of the training tasks.")] = 1,
    samples: Annotated[int, typer.Option(min=1, help="Rollouts a task.")] = 1,
    as_json: AsJson = False,
    settings: Settings = None,
) -> None:
    """Run tasks without training, and show what the learner would see, or learn from.

    One rollout is shown whole: the conversation, its tokens (trained, not trained, branches), the
    reward, the metrics, the time, and the memory that the run will need: the way to debug a
    workflow in seconds. Several are a table of rewards: the share of groups that teach something,
    failures, reward against length, tasks that are held out too: the way to try a judge before
    paying for training.

    **Example:** `astuner check main.py`, then `astuner check main.py --tasks 16 --samples 8`
    """
    from agentscope_tuner.cli.machine import machine_output, print_json

    def report(checked: Checked) -> None:
        from agentscope_tuner.cli.check_report import plain, show

        if as_json:
            print_json(plain(checked), out)
        else:
            show(checked, Console())
        rollouts = checked.rollouts
        first = rollouts[0].error
        if first is not None and all(rollout.error is not None for rollout in rollouts):
            what = "The rollout" if len(rollouts) == 1 else f"Each of {len(rollouts)} rollouts"
            raise RunError(f"{what} failed ({first.kind}): {first.message}")

    with machine_output(as_json) as out:
        invoke(
            "check",
            program,
            context.args,
            settings,
            report=report,
            tasks=tasks,
            samples=samples,
        )
