"""What is written in the README and in docs/, taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
    ROOT / "src" / "agentscope_tuner" / "cli" / "project" / "README.md",
    ROOT / "benchmarks" / "README.md",
]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and text of the fenced blocks, in their order."""
    return _BLOCK.findall(text_of(page))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return [code for name, code in fences(page) if name == language]


def code(page: Path) -> Iterator[str]:
    """Every line of shell, and every piece of code inside a sentence."""
    for block in blocks(page, "bash"):
        yield from block.replace("\\\n", " ").splitlines()
    yield from _SPAN.findall(_BLOCK.sub("", text_of(page)))


def links(page: Path) -> Iterator[str]:
    """Targets of links that lead to files of the repository."""
    prose = _SPAN.sub("", _BLOCK.sub("", text_of(page)))
    return (target for target in _LINK.findall(prose) if "://" not in target)


def anchors(page: Path) -> set[str]:
    """What `#...` may say after the page's name: its headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
