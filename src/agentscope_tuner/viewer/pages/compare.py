"""Two to four runs beside each other: what differs, their curves, and the tasks that flipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.comparison import compare
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.pages.run import run_page

MAX_RUNS = 4


def compare_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """The `runs` (ids, a line break between them), the first of which is the baseline."""
    names = query["runs"].split("\n")
    if not 2 <= len(names) <= MAX_RUNS:
        raise InputError(f"Choose two to {MAX_RUNS} runs to compare.")
    pages = {name: run_page(library, {"run": name}) for name in names}
    kept = ("headline", "training", "evaluations", "errors", "status")
    comparison = compare({name: library.run(name) for name in names})
    return {
        "runs": [{"id": name, **{key: pages[name][key] for key in kept}} for name in names],
        "differs": comparison.differs,
        "changes": [asdict(change) for change in comparison.changes],
        "help": pages[names[0]]["help"],
    }
