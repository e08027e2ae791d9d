"""The runs in a directory: how far they are and what they reached."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from agentscope_tuner.checkpoint.lock import is_held
from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import FILE_NAME as METRICS_FILE
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.monitor.summary import eval_rewards, training_key
from agentscope_tuner.runs.live import read_live

logger = logging.getLogger(__name__)

_OF_A_RUN = (STATE_FILE, "global_step_*")
"""By either of these a directory is known to be a run's."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run, in short."""

    name: str
    """`<project>/<name>`."""
    status: str
    """`running`, `finished`, `interrupted`, `failed`; `killed`: it says that it runs, but no living
    process writes it; `damaged`: its state is lost or cannot be read."""
    step: int
    total_steps: int | None
    """None: its state would say."""
    best: Mapping[str, tuple[float, int]]
    """The highest mean reward on each evaluation set, and after which step."""
    training: tuple[str, float] | None
    """Metric and value of the last training step: `reward/mean`, or the loss of a supervised run;
    None: there was no step yet."""
    changed: datetime
    """When its state was last written, in local time."""
    directory: Path
    live: Mapping[str, Any] | None = None
    """What it is doing (`live.json`), if it says so."""


def find_runs(directory: Path) -> list[RunRow]:
    """The runs in a directory of projects, in a project, or in a run directory, oldest first.

    Raises InputError: no such directory, or no run in it.
    """
    if not directory.is_dir():
        raise InputError(f"There is no directory {directory}.")
    patterns = [f"{above}{what}" for above in ("", "*/", "*/*/") for what in _OF_A_RUN]
    found = {path.parent for pattern in patterns for path in directory.glob(pattern)}
    if not found:
        raise InputError(f"There are no runs in {directory}.")
    return sorted(map(_row, found), key=lambda row: row.changed)


def find_run(directory: Path) -> RunRow:
    """The one run in a directory, or that it is. Raises InputError: there are several, or none."""
    rows = find_runs(directory)
    if len(rows) != 1:
        raise InputError(f"{directory} has {len(rows)} runs: name one of them.")
    return rows[0]


def _row(directory: Path) -> RunRow:
    try:
        state = RunState.load(directory)
    except InputError as error:
        _warn(str(error))
        state = None
    metrics = directory / METRICS_FILE
    records = read_metrics(metrics) if metrics.is_file() else []
    key = training_key(records)
    values = [record[key] for record in records if key in record]
    status: str = "damaged" if state is None else state.status
    if status == "running" and not is_held(directory):
        status = "killed"
    return RunRow(
        name="/".join(directory.resolve().parts[-2:]),
        status=status,
        step=max(CheckpointStore(directory).steps(), default=0) if state is None else state.step,
        total_steps=None if state is None else state.total_steps,
        best=_best(records),
        training=(key, values[-1]) if values else None,
        changed=datetime.fromtimestamp(_changed(directory)),
        directory=directory,
        live=read_live(directory) if status == "running" else None,
    )


@cache
def _warn(text: str) -> None:
    """Once: runs are listed again and again."""
    logger.warning("%s", text)


def _changed(directory: Path) -> float:
    state = directory / STATE_FILE
    return (state if state.exists() else directory).stat().st_mtime


def _best(records: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, int]]:
    best: dict[str, tuple[float, int]] = {}
    for record in records:
        for name, reward in eval_rewards(record).items():
            if name not in best or reward > best[name][0]:
                best[name] = (reward, int(record["step"]))
    return best
