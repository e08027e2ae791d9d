"""`astuner run`."""

from __future__ import annotations

from typing import Annotated

import typer

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import Program, Settings


def run(
    context: typer.Context,
    program: Program,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the named run from its last checkpoint.")
    ] = False,
) -> None:
    """Run a script that calls `tune(...)`, or a configuration.

    For a script `agentscope.tuner` is this package, and arguments that are no options of this
    command reach it. The `config.yaml` of a finished run repeats it under a new name; that of an
    unfinished run goes on with it.

    **Example:** `astuner run main.py --set name=first --set buffer.total_steps=16`
    """
    invoke("run", program, context.args, settings, resume=resume)
