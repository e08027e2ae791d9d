"""One run: its numbers over its steps, and its files."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentscope_tuner.checkpoint.lock import is_held
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.summary import training_key
from agentscope_tuner.runs.diagnosis.rules import diagnose
from agentscope_tuner.runs.estimates import clustered, evaluated_steps
from agentscope_tuner.runs.files import CONFIG_FILE
from agentscope_tuner.runs.identity import VERSIONS
from agentscope_tuner.runs.log import FILE_NAME as LOG_FILE
from agentscope_tuner.viewer.library import Library, Run
from agentscope_tuner.viewer.pages.runs import number, thin

MAX_POINTS = 5000
"""Of a curve; of longer runs every n-th step is shown."""
_HELP = (
    Path(__file__).parents[1] / "metrics.md",
    Path(__file__).parents[4] / "docs" / "metrics.md",
)
"""docs/metrics.md, as the wheel carries it and as it lies in the repository."""


def run_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """The metrics of training and of evaluations by step, and the steps that have rollouts.

    A damaged state is a sentence beside the rollouts, not the end of the page.
    """
    run = library.run(query["run"])
    state, problem = None, None
    try:
        state = RunState.load(run.directory)
    except InputError as error:
        problem = str(error)
    records = run.records()
    training = [r for r in records if any(not key.startswith(("eval/", "step")) for key in r)]
    evaluations = [r for r in records if any(key.startswith("eval/") for key in r)]
    run.table.refresh()
    return {
        "status": "damaged" if state is None else state.status,
        "step": state and state.step,
        "total_steps": state and state.total_steps,
        "pulse": run.pulse(),
        "problem": problem,
        "headline": training_key(records),
        "training": _by_key(training),
        "evaluations": _by_key(evaluations),
        "errors": _standard_errors(run),
        "steps": _steps(run),
        "help": metric_help(),
    }


def findings_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """What the doctor has to say of the run, the gravest first."""
    run = library.run(query["run"])
    over = not is_held(run.directory)
    return {"findings": [finding.plain() for finding in diagnose(run, over=over)]}


def files_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """The configuration, the versions, the log, and which files there are."""
    run = library.run(query["run"])
    versions = run.text(VERSIONS)
    with contextlib.suppress(ValueError):
        versions = json.dumps(json.loads(versions), indent=2, ensure_ascii=False)
    return {
        "configuration": run.text(CONFIG_FILE),
        "versions": versions,
        "log": run.text(LOG_FILE),
        "files": _files(run.directory),
    }


def metric_help() -> list[dict[str, Any]]:
    """The sections of docs/metrics.md: a title, and key, unit and meaning of each metric."""
    text = next((path.read_text("utf-8") for path in _HELP if path.is_file()), "")
    sections: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith("## "):
            sections.append({"title": line[3:], "metrics": []})
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0].startswith("`") and sections:
            meaning = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cells[2]).replace("`", "")
            keys = re.findall(r"`([^`]+)`", cells[0])
            sections[-1]["metrics"] += [[key, cells[1], meaning] for key in keys]
    return [section for section in sections if section["metrics"]]


def _standard_errors(run: Run) -> dict[str, dict[int, float | None]]:
    """Of the mean reward of each evaluation, by set and step."""
    columns = run.table.columns
    found: dict[str, dict[int, float | None]] = {}
    for name, steps in evaluated_steps(run.table).items():
        of_set = columns["set"] == run.table.code("set", name)
        for step in steps:
            rows = of_set & (columns["step"] == step)
            estimate = clustered(columns["reward"][rows], columns["task"][rows])
            found.setdefault(name, {})[step] = number(estimate.standard_error)
    return found


def _steps(run: Run) -> list[dict[str, Any]]:
    """Steps and evaluations that have rollouts, in order."""
    columns = run.table.columns
    keys = columns["step"].astype(np.int64) * 1000 + columns["set"]
    found, counts = np.unique(keys, return_counts=True)
    return [
        {"step": int(k) // 1000, "set": run.table.name("set", int(k) % 1000), "count": int(count)}
        for k, count in zip(found, counts, strict=True)
    ]


def _by_key(records: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Steps, and of each metric one value a step, None where it has none."""
    records = thin(records, MAX_POINTS)
    keys = dict.fromkeys(key for record in records for key in record if key != "step")
    return {
        "steps": [record["step"] for record in records],
        "values": {key: [number(r[key]) if key in r else None for r in records] for key in keys},
    }


def _files(directory: Path) -> list[list[Any]]:
    """Name and size of what lies in the run, one level deep; links are not followed."""
    found = []
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or path.name.startswith("."):
            continue
        below = [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
        files = [path] if path.is_file() else below
        size = sum(file.stat().st_size for file in files)
        found.append([path.name + ("/" if path.is_dir() else ""), size, len(files)])
    return found
