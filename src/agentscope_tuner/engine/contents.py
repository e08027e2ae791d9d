"""What a run directory holds that beginning again would overwrite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import FILE_NAME as METRICS_FILE
from agentscope_tuner.monitor.jsonl import read_metrics


def refuse_overwriting(directory: Path, why: str) -> None:
    """Raise InputError, which says what would be lost, if the run there has got anywhere.

    `why` it cannot go on: `has no run_state.json`, for one.
    """
    if found := [*_found(directory)]:
        raise InputError(
            f"The run {directory} {why}, so it cannot go on, and to begin it again would overwrite "
            f"{' and '.join(found)}: restore what is missing{_state_to_restore(directory)}, give "
            "the run another name, or move the directory away."
        )


def _found(directory: Path) -> Iterator[str]:
    if steps := CheckpointStore(directory).steps():
        yield f"{len(steps)} checkpoints (the last is {steps[max(steps)].name})"
    metrics = directory / METRICS_FILE
    if metrics.is_file() and (records := read_metrics(metrics)):
        yield f"{len(records)} lines of {METRICS_FILE}"
    if rollouts := list(directory.glob("rollouts/*.zst")):
        yield f"{len(rollouts)} files of rollouts"


def _state_to_restore(directory: Path) -> str:
    """The state that lets the run go on after its last whole checkpoint, if it is that which is
    missing."""
    checkpoint = CheckpointStore(directory).latest()
    try:
        known = RunState.load(directory) is not None
    except InputError:
        known = False
    if known or checkpoint is None:
        return ""
    step = int(checkpoint.name.rpartition("_")[2])
    state = json.dumps(asdict(RunState("interrupted", step, step)))
    return f" ({STATE_FILE} may say {state}: it goes on after {checkpoint.name} then)"
