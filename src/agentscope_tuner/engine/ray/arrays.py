"""Rollouts with arrays in place of lists of numbers: a tenth of the bytes and of the time to send.

Nothing is lost: numbers that float32 cannot hold exactly are sent as float64.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.trajectory import Rollout, Sampled, Segment


def to_arrays(rollout: Rollout) -> Rollout:
    """A copy whose tokens are arrays, without its task, which the driver has; to be sent only."""
    segments = [
        Segment(
            segment.parent,
            cast("list[int]", np.asarray(segment.token_ids, np.int32)),
            segment.sampled and _sampled_to_arrays(segment.sampled),
        )
        for segment in rollout.trajectory.segments
    ]
    return replace(rollout, task={}, trajectory=replace(rollout.trajectory, segments=segments))


def from_arrays(rollout: Rollout, task: dict[str, Any]) -> Rollout:
    """What `to_arrays` was given, with its task; the rollout itself is changed."""
    rollout.task = task
    for segment in rollout.trajectory.segments:
        segment.token_ids = _list(segment.token_ids)
        if (sampled := segment.sampled) is not None:
            sampled.logprobs = _list(sampled.logprobs)
            sampled.forced = _list(sampled.forced)
            sampled.columns = {name: _list(column) for name, column in sampled.columns.items()}
    return rollout


def _sampled_to_arrays(sampled: Sampled) -> Sampled:
    return replace(
        sampled,
        logprobs=cast("list[float]", _floats(sampled.logprobs)),
        forced=cast("list[bool]", np.asarray(sampled.forced, bool)),
        columns={
            name: cast("list[float]", _floats(column)) for name, column in sampled.columns.items()
        },
    )


def _floats(values: list[float]) -> NDArray[np.float32] | NDArray[np.float64]:
    exact = np.asarray(values, np.float64)
    with np.errstate(over="ignore"):
        short = exact.astype(np.float32)
    return short if np.array_equal(short, exact, equal_nan=True) else exact


def _list(values: Any) -> list[Any]:
    return cast("NDArray[Any]", values).tolist()
