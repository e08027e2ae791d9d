"""Rollouts on disk: `rollouts/step_<n>.jsonl.zst`, one rollout a line.

A line has the rollout's id and its group's, its task, calls (messages, tools, answers), token
segments with log-probabilities, reward, advantage, metrics and error. Everything that is read back
equals what was written, with two exceptions: the sets of tokens that could have been drawn
(`Sampled.supports`) are left out, as they are large and only training needs them; and values in a
task or a message that JSON does not know are kept as text.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import (
    Call,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)


def rollouts_path(run_directory: Path, step: int) -> Path:
    """Where a run keeps the rollouts of this step."""
    return run_directory / "rollouts" / f"step_{step}.jsonl.zst"


def write_rollouts(path: Path, groups: Sequence[RolloutGroup]) -> None:
    """Write all rollouts of these groups; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    with zstandard.open(beside, "wt", encoding="utf-8") as file:
        for group in groups:
            for rollout in group.rollouts:
                line = {"group": group.id, **_rollout_fields(rollout)}
                file.write(json.dumps(line, ensure_ascii=False, default=_plain) + "\n")
    os.replace(beside, path)


def read_rollouts(path: Path) -> list[Rollout]:
    """The rollouts that `write_rollouts` wrote, in its order.

    Raises InputError if the file is damaged or holds something else.
    """
    try:
        with zstandard.open(path, "rt", encoding="utf-8") as file:
            return [_rollout(json.loads(line)) for line in file]
    except (zstandard.ZstdError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or holds no rollouts ({error}).") from error


def _rollout_fields(rollout: Rollout) -> dict[str, Any]:
    trajectory = rollout.trajectory
    return {
        **_fields(rollout),
        "error": rollout.error and _fields(rollout.error),
        "trajectory": {
            "segments": [_segment_fields(segment) for segment in trajectory.segments],
            "calls": [_fields(call) for call in trajectory.calls],
            "overflows": trajectory.overflows,
        },
    }


def _segment_fields(segment: Segment) -> dict[str, Any]:
    fields = _fields(segment)
    if segment.sampled is not None:
        fields["sampled"] = _fields(segment.sampled)
        del fields["sampled"]["supports"]
    return fields


def _fields(data: Any) -> dict[str, Any]:
    """A dataclass' own fields (`dataclasses.asdict` would copy every token)."""
    return {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _rollout(fields: dict[str, Any]) -> Rollout:
    del fields["group"]
    trajectory = fields.pop("trajectory")
    error = fields.pop("error")
    return Rollout(
        **fields,
        error=error and RolloutError(**error),
        trajectory=Trajectory(
            [_segment(segment) for segment in trajectory["segments"]],
            [Call(**call) for call in trajectory["calls"]],
            trajectory["overflows"],
        ),
    )


def _segment(fields: dict[str, Any]) -> Segment:
    sampled = fields.pop("sampled")
    if sampled is not None:
        # Files from before there were spans of versions have none: one version sampled all.
        changes = [(index, version) for index, version in sampled.pop("version_changes", ())]
        sampled = Sampled(**sampled, version_changes=changes)
    return Segment(**fields, sampled=sampled)
