"""A rollout as plain data for one JSON line, and back.

Everything that is read back equals what was written, with three exceptions: numbers of a column
are kept as 32-bit floats, which is what they were computed in; the sets of tokens that could have
been drawn (`Sampled.supports`) are left out, as they are large and only training needs them; and
values in a task or a message that JSON does not know are kept as text (the task as a whole, as
`as_text`, if not even that is possible).

A column is `base64(float32, little endian)`, one number a token; `numpy.frombuffer` reads it.
`forced` is `[first, count]` pairs. Lines without a `format` are of format 1, where both are lists.
"""

from __future__ import annotations

import dataclasses
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from agentscope_tuner.penalties import Penalties
from agentscope_tuner.plain_text import plain_text
from agentscope_tuner.runs.formats import ROLLOUTS
from agentscope_tuner.trajectory import (
    AuxiliaryCall,
    Call,
    LogLine,
    Rollout,
    RolloutError,
    Sampled,
    Segment,
    Trajectory,
)

SAMPLER = "logprobs"
"""The column that every sampled segment has: see `Sampled.logprobs`."""

MAX_TASK_TEXT = 10_000
"""Characters that are kept of a task that is kept as text."""


def rollout_line(rollout: Rollout, group: str) -> bytes:
    """One line of JSON, its end included."""
    fields = {"format": ROLLOUTS, "group": group, **rollout_fields(rollout)}
    try:
        text = _json(fields)
    except (TypeError, ValueError, RecursionError):  # a task that JSON has no form for
        task = plain_text(repr(rollout.task), MAX_TASK_TEXT)
        text = _json({**fields, "task": {"as_text": task}})
    # A message may hold half a surrogate pair, which no UTF-8 can: JSON has the same escapes.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, default=_plain)


def rollout_fields(rollout: Rollout) -> dict[str, Any]:
    """A rollout as plain data."""
    trajectory = rollout.trajectory
    return {
        **_fields(rollout),
        "error": rollout.error and _fields(rollout.error),
        "log": [_fields(line) for line in rollout.log],
        "auxiliary_calls": [_fields(call) for call in rollout.auxiliary_calls],
        "trajectory": {
            "segments": [_segment_fields(segment) for segment in trajectory.segments],
            "calls": [_fields(call) for call in trajectory.calls],
            "overflows": trajectory.overflows,
        },
    }


def rollout_of(fields: dict[str, Any]) -> Rollout:
    """The rollout of a line, of this format or an older one.

    Raises KeyError, TypeError or ValueError for what is none.
    """
    fields = {key: value for key, value in fields.items() if key not in ("format", "group")}
    trajectory = fields.pop("trajectory")
    error = fields.pop("error")
    return Rollout(
        **fields
        | {
            "log": [LogLine(**line) for line in fields.get("log", ())],
            "auxiliary_calls": [AuxiliaryCall(**c) for c in fields.get("auxiliary_calls", ())],
        },
        error=error and RolloutError(**error),
        trajectory=Trajectory(
            [_segment(segment) for segment in trajectory["segments"]],
            [Call(**call) for call in trajectory["calls"]],
            trajectory["overflows"],
        ),
    )


def numbers_of(column: str | list[float]) -> list[float]:
    """A column as numbers, one a token."""
    if isinstance(column, list):
        return column
    return np.frombuffer(b64decode(column), "<f4").tolist()


def flags_of(forced: list[Any], count: int) -> list[bool]:
    """`forced` as one flag for each of `count` tokens."""
    if not forced or isinstance(forced[0], bool):
        return forced or [False] * count
    flags = [False] * count
    for first, length in forced:
        flags[first : first + length] = [True] * length
    return flags


def _segment_fields(segment: Segment) -> dict[str, Any]:
    sampled = segment.sampled
    fields = _fields(segment)
    if sampled is not None:
        fields["sampled"] = _fields(sampled)
        del fields["sampled"]["supports"], fields["sampled"][SAMPLER]
        fields["sampled"]["forced"] = _runs(sampled.forced)
        fields["sampled"]["penalties"] = sampled.penalties and _fields(sampled.penalties)
        columns = {SAMPLER: sampled.logprobs, **sampled.columns}
        fields["sampled"]["columns"] = {name: _packed(values) for name, values in columns.items()}
    return fields


def _segment(fields: dict[str, Any]) -> Segment:
    sampled = fields["sampled"]
    if sampled is None:
        return Segment(**fields)
    packed = sampled.get("columns") or {SAMPLER: sampled[SAMPLER]}
    columns = {name: numbers_of(values) for name, values in packed.items()}
    logprobs = columns.pop(SAMPLER)
    forced = flags_of(sampled["forced"], len(logprobs))
    # Files from before there were spans of versions have none: one version sampled all.
    changes = [(index, version) for index, version in sampled.get("version_changes", ())]
    own = {
        "logprobs": logprobs,
        "columns": columns,
        "forced": forced,
        "version_changes": changes,
        "penalties": _penalties(sampled.get("penalties")),
    }
    return Segment(fields["parent"], fields["token_ids"], Sampled(**sampled | own))


def _penalties(fields: dict[str, Any] | None) -> Penalties | None:
    if fields is None:
        return None
    bias = tuple((token, added) for token, added in fields["bias"])
    return Penalties(**{**fields, "bias": bias})


def _packed(values: Sequence[float]) -> str:
    return b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """First index and length of each run of True."""
    if True not in flags:
        return []
    runs, at = [], 0
    for flag, same in groupby(flags):
        length = sum(1 for _ in same)
        if flag:
            runs.append((at, length))
        at += length
    return runs


def _fields(data: Any) -> dict[str, Any]:
    """A dataclass' own fields (`dataclasses.asdict` would copy every token)."""
    return {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
