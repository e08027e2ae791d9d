"""The runs in a directory: how far they are and what they reached."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agentscope_tuner.checkpoint.lock import is_held
from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import FILE_NAME as METRICS_FILE
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.monitor.summary import eval_rewards, training_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run, in short."""

    name: str
    """`<project>/<name>`."""
    status: str
    """`running`, `finished`, `interrupted`, `failed`, or `killed`: it says that it runs, but no
    living process writes it."""
    step: int
    total_steps: int
    best: Mapping[str, tuple[float, int]]
    """The highest mean reward on each evaluation set, and after which step."""
    training: tuple[str, float] | None
    """Metric and value of the last training step: `reward/mean`, or the loss of a supervised run;
    None: there was no step yet."""
    changed: datetime
    """When its state was last written, in local time."""


def find_runs(directory: Path) -> list[RunRow]:
    """The runs in a directory of projects, in a project, or in a run directory, oldest first.

    Raises InputError: no such directory, or no run in it. A run whose state cannot be read is named
    in a warning and passed over.
    """
    if not directory.is_dir():
        raise InputError(f"There is no directory {directory}.")
    patterns = (STATE_FILE, f"*/{STATE_FILE}", f"*/*/{STATE_FILE}")
    found = [path for pattern in patterns for path in directory.glob(pattern)]
    if not found:
        raise InputError(f"There are no runs in {directory}.")
    rows = (row for path in found if (row := _row(path.parent)) is not None)
    return sorted(rows, key=lambda row: row.changed)


def _row(directory: Path) -> RunRow | None:
    try:
        state = RunState.load(directory)
    except InputError as error:
        logger.warning("%s The run is passed over.", error)
        return None
    assert state is not None, "found by its state"
    metrics = directory / METRICS_FILE
    records = read_metrics(metrics) if metrics.is_file() else []
    key = training_key(records)
    values = [record[key] for record in records if key in record]
    killed = state.status == "running" and not is_held(directory)
    return RunRow(
        name="/".join(directory.resolve().parts[-2:]),
        status="killed" if killed else state.status,
        step=state.step,
        total_steps=state.total_steps,
        best=_best(records),
        training=(key, values[-1]) if values else None,
        changed=datetime.fromtimestamp((directory / STATE_FILE).stat().st_mtime),
    )


def _best(records: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, int]]:
    best: dict[str, tuple[float, int]] = {}
    for record in records:
        for name, reward in eval_rewards(record).items():
            if name not in best or reward > best[name][0]:
                best[name] = (reward, int(record["step"]))
    return best
