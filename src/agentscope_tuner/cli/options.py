"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
"""For commands that run a script: arguments that are no options of theirs are the script's."""

RunDirectory = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)
]
EvaluationSet = Annotated[
    str | None,
    typer.Option(
        "--set",
        metavar="NAME",
        help="Rollouts of this evaluation set, in place of training's.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

WorkflowFunction = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FUNCTION",
        help="The workflow; `module:function` for one of an installed package.",
        show_default=False,
    ),
]
Judge = Annotated[
    str,
    typer.Option(metavar="FILE.py:FUNCTION", help="The judge.", show_default=False),
]
Dataset = Annotated[
    str,
    typer.Option(metavar="PATH", help="A directory, a file, or a hub name.", show_default=False),
]
Split = Annotated[str, typer.Option(help="The dataset's split.")]


def loaded(reference: str) -> Any:
    """A function by its file, in which `agentscope.tuner` is this package. Raises InputError."""
    from agentscope_tuner.compat import install
    from agentscope_tuner.functions import load_function

    install()
    return load_function(reference)
