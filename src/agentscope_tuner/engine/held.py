"""Rollouts that are drawn and not yet learnt from, as bytes for a checkpoint.

The weights that drew them will not exist after a resume, so they are kept whole: unlike the
record's lines these have the sets of drawable tokens too. Tasks are left out: they are in the
dataset.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from agentscope_tuner.experience.replay import Replay, Replayed
from agentscope_tuner.runs.encoding import rollout_fields, rollout_of
from agentscope_tuner.tasks import Taskset
from agentscope_tuner.trajectory import Rollout, RolloutGroup


def pack_groups(groups: Sequence[RolloutGroup]) -> bytes:
    """Groups as bytes; see `unpack_groups`."""
    plain = [{"id": g.id, "rollouts": [_fields(r) for r in g.rollouts]} for g in groups]
    text = json.dumps(plain, default=_plain)
    return zstandard.compress(text.encode("utf-8", "backslashreplace"))


def unpack_groups(packed: bytes, tasks: Sequence[dict[str, Any]]) -> list[RolloutGroup]:
    """The groups that `pack_groups` was given; `tasks` are theirs, in order."""
    groups = []
    plain = json.loads(zstandard.decompress(packed))
    for group, task in zip(plain, tasks, strict=True):
        rollouts = [_rollout(fields, task) for fields in group["rollouts"]]
        groups.append(RolloutGroup(group["id"], task, rollouts))
    return groups


def pack_replay(replay: Replay) -> dict[str, Any]:
    """What may be learnt from again, as plain data."""
    kept = replay.kept
    return {
        "groups": pack_groups([item.group for item in kept]),
        "samples": [item.sample for item in kept],
        "versions": [item.version for item in kept],
        "uses": [item.uses for item in kept],
        "used_at": [item.used_at for item in kept],
    }


def unpack_replay(state: Mapping[str, Any], taskset: Taskset) -> list[Replayed]:
    """What `pack_replay` was given; the tasks are the taskset's."""
    groups = unpack_groups(state["groups"], taskset.batch_of(state["samples"]).tasks)
    columns = (state[name] for name in ("samples", "versions", "uses", "used_at"))
    return [Replayed(*item) for item in zip(groups, *columns, strict=True)]


def _fields(rollout: Rollout) -> dict[str, Any]:
    fields = rollout_fields(rollout)
    del fields["task"]
    fields["supports"] = {
        number: {
            index: [support.dtype.str, b64encode(support.tobytes()).decode()]
            for index, support in segment.sampled.supports.items()
        }
        for number, segment in enumerate(rollout.trajectory.segments)
        if segment.sampled is not None and segment.sampled.supports
    }
    return fields


def _rollout(fields: dict[str, Any], task: dict[str, Any]) -> Rollout:
    supports = fields.pop("supports")
    rollout = rollout_of({**fields, "task": task})
    for number, by_index in supports.items():
        sampled = rollout.trajectory.segments[int(number)].sampled
        assert sampled is not None
        sampled.supports = {int(index): _support(*one) for index, one in by_index.items()}
    return rollout


def _plain(value: Any) -> Any:
    """What messages may hold; a token's numbers are plain already, and never text."""
    if isinstance(value, np.ndarray):
        raise TypeError("An array is among what is held.")
    return value.item() if isinstance(value, np.generic) else str(value)


def _support(dtype: str, data: str) -> NDArray[Any]:
    return np.frombuffer(b64decode(data), dtype)
