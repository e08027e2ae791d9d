"""What is quoted as an error is what the program says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from pages import ROOT, text_of

PAGE = text_of(ROOT / "docs" / "troubleshooting.md")
QUOTED = re.findall(r"^\| `(.+?)` \|", PAGE.partition("## By error text")[2], re.MULTILINE)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a program, joined as it is said; `…` is what is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def said() -> list[str]:
    """Every string of the package."""
    files = (ROOT / "src" / "agentscope_tuner").rglob("*.py")
    return [text for file in files for text in _texts(ast.parse(file.read_text()))]


def test_errors_are_quoted() -> None:
    assert len(QUOTED) > 20


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_error_is_one_of_ours(message: str) -> None:
    pattern = re.escape(message.strip()).replace("…", ".*")
    assert any(re.search(pattern, text) for text in said())
