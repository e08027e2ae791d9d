"""Running a program so that its calls of `tune()` obey a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from agentscope_tuner.cli import INTERRUPTED
from agentscope_tuner.errors import InputError

YAML = (".yaml", ".yml")


def invoke(
    command: str,
    program: Path,
    arguments: list[str],
    settings: list[str] | None,
    *,
    resume: bool = False,
    report: Callable[[Any], None] | None = None,
    **options: object,
) -> None:
    """Run a script or a configuration, whose `tune()` does what `command` says.

    `report` shows what a command that only looks has found.

    Raises InputError if the command had nothing to act on: the script never called `tune()`. Only
    `run` without options takes that, as it has done what it was asked for.
    """
    # Imported late: `--help` and bad arguments answer at once.
    from agentscope_tuner.compat import run_script
    from agentscope_tuner.tuning import Invocation, invoked_as, tune

    invocation = Invocation(command, settings or (), resume, options, report)
    with invoked_as(invocation):
        if program.suffix in YAML:
            if arguments:
                raise InputError(f"A configuration takes no arguments: {' '.join(arguments)}.")
            tune(config_path=program)
        else:
            run_script(str(program), arguments)
    if not invocation.calls:
        if command != "run" or settings or resume:
            raise InputError(
                f"{program} ended without a call of tune(), so there was no {command}."
            )
        note = f"note: {program} ended without a call of tune(): nothing was tuned."
        Console(stderr=True).print(note, markup=False, highlight=False, soft_wrap=True)
    if invocation.interrupted:
        raise typer.Exit(INTERRUPTED)
