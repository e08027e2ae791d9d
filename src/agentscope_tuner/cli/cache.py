"""`astuner cache`: what is kept for all runs, and removing it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.cli.options import AsJson
from agentscope_tuner.errors import InputError
from agentscope_tuner.visible import visible

if TYPE_CHECKING:
    from agentscope_tuner.cache import Kept

_DAY_S = 24 * 3600


def cache(
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Remove this, or all that fits, e.g. `models/*`. Repeatable.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what is kept for all runs (compiled kernels, unpacked models, samples), or remove some.

    Kernels and models are made again when they are needed. Datasets are samples that a program gave
    to `tune()`: a run on them cannot go on or be repeated without.

    **Example:** `astuner cache --remove 'models/*'`
    """
    from agentscope_tuner.cache import cache_directory, kept
    from agentscope_tuner.checkpoint.durable import remove as remove_from_disk
    from agentscope_tuner.cli.machine import print_json

    found = kept()
    if remove:
        found = _chosen(found, remove)
        for one in found:
            remove_from_disk(one.path)
    if as_json:
        key = "removed" if remove else "kept"
        print_json({"directory": cache_directory(), key: [*map(asdict, found)]})
        return
    console = Console()
    if found:
        console.print(_table(found))
    total = f"{sum(one.size for one in found) / 1e6:,.1f} MB"
    line = f"{total} removed from" if remove else f"{total} in"
    console.print(f"{line} {cache_directory()}", markup=False, highlight=False, soft_wrap=True)


def _chosen(found: Sequence[Kept], patterns: Sequence[str]) -> list[Kept]:
    """Those that a pattern fits. Raises InputError for one that fits nothing."""
    for pattern in patterns:
        if not any(fnmatchcase(one.name, pattern) for one in found):
            raise InputError(f"Nothing in the cache is called {pattern}: `astuner cache` lists it.")
    return [one for one in found if any(fnmatchcase(one.name, pattern) for pattern in patterns)]


def _table(found: Sequence[Kept]) -> Table:
    table = Table("name", "size", "made")
    for one in found:
        days = int((time.time() - one.changed) / _DAY_S)
        made = "today" if days < 1 else f"{days} days ago" if days > 1 else "yesterday"
        table.add_row(escape(visible(one.name)), f"{one.size / 1e6:,.1f} MB", made)
    table.columns[0].overflow = "fold"
    table.columns[1].justify = "right"
    return table
