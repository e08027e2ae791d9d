"""What stands under benchmarks/ fits what is there, as far as that shows without running it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, text_of

from agentscope_tuner.algorithms.catalogue import catalogue

BENCHMARKS = ROOT / "benchmarks"


def imported_names(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from the package."""
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agentscope_tuner"):
            yield from ((str(node.module), alias.name) for alias in node.names)


def test_what_the_benchmarks_import_is_there() -> None:
    names = {name for path in BENCHMARKS.rglob("*.py") for name in imported_names(path)}
    assert names
    for module, name in sorted(names):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")


def test_named_differences_are_those_that_the_comparison_with_the_peers_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    cases, report = (importlib.import_module(f"agreement.{name}") for name in ("cases", "report"))
    listed = importlib.import_module("agreement.everything").CASES
    assert report.unnamed(listed, text_of(ROOT / "docs" / "algorithms.md")) == []
    compared = {case.type for case in listed} | set(cases.NO_PEER)
    assert set(catalogue().types) <= compared
