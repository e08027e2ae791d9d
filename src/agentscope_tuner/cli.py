"""`astuner`: the command line.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from agentscope_tuner.errors import InputError, TunerError

COMMANDS = ("run", "check")

app = typer.Typer(
    name="astuner",
    help="Tune the model behind an agent by reinforcement learning, on the machine you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Script = Annotated[
    Path, typer.Argument(help="A Python script that calls `tune(...)`.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a configuration key by its path, over what the script or its YAML says, "
        "e.g. `--set buffer.total_steps=16`. Repeatable.",
    ),
]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=PASS_ON)
def run(
    context: typer.Context,
    script: Script,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the named run from its last checkpoint.")
    ] = False,
) -> None:
    """Run a script that calls `tune(...)`; meanwhile `agentscope.tuner` is this package.

    Arguments that are no options of this command reach the script.

    **Example:** `astuner run main.py --set name=first --set buffer.total_steps=16`
    """
    _run_script(script, context.args, command="run", settings=settings or (), resume=resume)


@app.command(context_settings=PASS_ON)
def check(context: typer.Context, script: Script, settings: Settings = None) -> None:
    """Run one task once, without training, and show what the learner would see.

    Prints the conversation, its tokens (trained, not trained, branches), the reward, the metrics,
    the time, and the memory that the run will need: the way to debug a workflow in seconds.

    **Example:** `astuner check main.py`
    """
    _run_script(script, context.args, command="check", settings=settings or ())


def _run_script(script: Path, arguments: list[str], **invocation: Any) -> None:
    # Imported late: `--help` and bad arguments answer at once.
    from agentscope_tuner.compat.script import run_script
    from agentscope_tuner.tuning import Invocation, invoked_as

    with invoked_as(Invocation(**invocation)):
        run_script(str(script), arguments)


def main() -> None:
    """Run a command; errors that the user can put right are printed as one sentence."""
    try:
        app()
    except TunerError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
