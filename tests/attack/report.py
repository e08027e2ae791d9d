"""The results in docs/reliability.md: one section a part, between marks, with date and machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def write_section(
    part: str, lines: Sequence[str], minutes: float, path: Path = PAGE, command: str | None = None
) -> None:
    """Replace what a page says of this part."""
    begin, end = f"<!-- attack: {part} -->", f"<!-- end of attack: {part} -->"
    page = path.read_text(encoding="utf-8")
    command = command or f"make attack PART={part}"
    head = f"{date.today()}, `{command}`, {minutes:.0f} minutes on {machine()}:"
    section = "\n".join([begin, "", head, "", *lines, "", end])
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page, count = found.subn(lambda _: section, page)
    if count != 1:
        raise SystemExit(f"{path} has no place for {part}: {begin} ... {end}")
    path.write_text(page, encoding="utf-8")


def machine() -> str:
    """What the figures hold for."""
    return (
        f"{os.cpu_count()} cores of a {platform.machine()} machine that others used as well, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table whose columns but the first are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *rows)]
