"""`astuner init`: a project to begin with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from agentscope_tuner.errors import InputError

TEMPLATE = Path(__file__).with_name("project")
RENAMED = {"gitignore": ".gitignore"}
"""Under its own name it would hold for the template."""


def init(
    directory: Annotated[
        Path, typer.Argument(help="The directory to write, new or empty.", show_default=False)
    ],
) -> None:
    """Write a project that runs as it is: an agent, a judge, tasks, a configuration, a README.

    It is one of AgentScope 1.x; examples/agentscope2 is one of 2.x.

    **Example:** `astuner init my-agent`, then in it `astuner run main.py`
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} exists already and is not empty: choose another directory.")
    leave = shutil.ignore_patterns("__pycache__")
    try:
        shutil.copytree(TEMPLATE, directory, ignore=leave, dirs_exist_ok=True)
        for name, own in RENAMED.items():
            (directory / name).rename(directory / own)
    except OSError as error:
        raise InputError(f"{directory} cannot be written: {error.strerror}.") from error
    print(f"{directory} is a project: see {directory / 'README.md'}")
