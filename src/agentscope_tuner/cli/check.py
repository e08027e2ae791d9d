"""`astuner check`."""

from __future__ import annotations

import typer

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import Program, Settings


def check(context: typer.Context, program: Program, settings: Settings = None) -> None:
    """Run one task once, without training, and show what the learner would see.

    Prints the conversation, its tokens (trained, not trained, branches), the reward, the metrics,
    the time, and the memory that the run will need: the way to debug a workflow in seconds.

    **Example:** `astuner check main.py`
    """
    invoke("check", program, context.args, settings)
