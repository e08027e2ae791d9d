"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from agentscope_tuner import __version__
from agentscope_tuner.cli.cache import cache
from agentscope_tuner.cli.chat import chat
from agentscope_tuner.cli.check import check
from agentscope_tuner.cli.compare import compare
from agentscope_tuner.cli.diagnose import diagnose
from agentscope_tuner.cli.environment import disable, enable, env
from agentscope_tuner.cli.evaluate import evaluate
from agentscope_tuner.cli.export import export
from agentscope_tuner.cli.export_config import export_config
from agentscope_tuner.cli.init import init
from agentscope_tuner.cli.options import PASS_ON
from agentscope_tuner.cli.plan import plan
from agentscope_tuner.cli.prompt import prompt
from agentscope_tuner.cli.rescore import rescore
from agentscope_tuner.cli.run import run
from agentscope_tuner.cli.runs import runs
from agentscope_tuner.cli.select import select
from agentscope_tuner.cli.serve import serve
from agentscope_tuner.cli.show import show
from agentscope_tuner.cli.sweep import sweep
from agentscope_tuner.cli.view import view
from agentscope_tuner.errors import InputError
from agentscope_tuner.verbosity import set_verbosity

app = typer.Typer(
    name="astuner",
    help="Tune the model behind an agent by reinforcement learning, on the machine you have.",
    epilog="A first session: `astuner init my-agent`, `astuner check main.py`, "
    "`astuner run main.py --set name=first`, `astuner runs`, "
    "`astuner diagnose checkpoints/AgentScope/first`, "
    "`astuner evaluate main.py --model <the original> --model checkpoints/AgentScope/first`, "
    "`astuner export checkpoints/AgentScope/first my-model`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def astuner(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda wanted: wanted and _show_version(),
            help="Print the version and leave.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Log what is done, every rollout among it."),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Say nothing but results and errors."),
    ] = False,
) -> None:
    """Take the options that are no command's."""
    if verbose and quiet:
        raise InputError("--verbose and --quiet are opposites: give one of them.")
    set_verbosity("verbose" if verbose else "quiet" if quiet else "normal")


def _show_version() -> None:
    print(f"astuner {__version__}")
    raise typer.Exit


PROGRAM_COMMANDS = (run, check, plan, evaluate, sweep, export_config)
"""Those that run a script or a configuration."""
OTHER_COMMANDS = (
    init,
    export,
    serve,
    chat,
    runs,
    view,
    show,
    diagnose,
    compare,
    rescore,
    select,
    prompt,
    enable,
    disable,
    env,
    cache,
)
COMMANDS = [command.__name__.replace("_", "-") for command in (*PROGRAM_COMMANDS, *OTHER_COMMANDS)]

for command in PROGRAM_COMMANDS:
    app.command(context_settings=PASS_ON)(command)
for other in OTHER_COMMANDS:
    app.command()(other)
