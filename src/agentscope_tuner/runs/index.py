"""`rollouts/index.jsonl`: one line a rollout, so that nothing has to be opened to find it.

The first line has the format's number. A line of a rollout has

| key | meaning |
| --- | --- |
| `file`, `offset`, `length`, `line` | its file, its group's frame in it (bytes), its line there |
| `step`, `set` | which step it was made for, or the updates before an evaluation of the `set` |
| `group`, `id` | of its group, and its own |
| `task` | a digest of the task: the same task has the same one in every step and run |
| `about` | how the task's first text begins |
| `reward`, `advantage`, `error` | as in `Rollout`; the error is its kind |
| `turns`, `prompt_tokens`, `tokens`, `branches` | model calls; tokens given and sampled; leaves |
| `truncated`, `attempts`, `began`, `seconds`, `judge_seconds` | as in `Rollout` |
| `left_out` | the operator that left it out of training; None: none did |

Lines of one file are written in one go after the file is in its place. A last line without an end
is being written, or its writer was killed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from agentscope_tuner.checkpoint.durable import write_atomically
from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.encoding import rollout_of
from agentscope_tuner.runs.formats import INDEX, refuse_newer
from agentscope_tuner.runs.rollouts import Frame, read_frames, step_of
from agentscope_tuner.trajectory import Rollout

logger = logging.getLogger(__name__)

IndexLine = dict[str, Any]
PREVIEW = 80
"""Characters of `about`."""


def index_path(run_directory: Path) -> Path:
    """Where a run keeps its index."""
    return run_directory / "rollouts" / "index.jsonl"


def index_lines(
    path: Path,
    step: int,
    evaluation: str | None,
    frames: Iterable[tuple[Frame, Iterable[tuple[str, Rollout]]]],
) -> Iterator[IndexLine]:
    """The lines of one file: of each frame its place, its rollouts and their groups' ids."""
    for frame, rollouts in frames:
        place = {"file": path.name, "offset": frame.offset, "length": frame.length}
        for number, (group, rollout) in enumerate(rollouts):
            about = {"line": number, "step": step, "set": evaluation, "group": group}
            yield {**place, **about, **_facts(rollout)}


def append_lines(path: Path, lines: Iterable[IndexLine]) -> None:
    """Add lines to an index, which is begun if there is none, durably."""
    with path.open("ab") as file:
        if file.tell() == 0:
            file.write(_line({"format": INDEX}))
        file.write(b"".join(map(_line, lines)))
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[IndexLine]:
    """The complete lines of an index. Raises InputError if one is damaged, or of a newer format."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if not line.endswith(b"\n"):
                return
            try:
                fields = dict(json.loads(line))
                if number == 0:
                    refuse_newer(path, fields["format"], INDEX)
                    continue
            except InputError:
                raise
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}, line {number + 1}, is damaged: {error}.") from error
            yield fields


def lines_of(path: Path) -> list[IndexLine]:
    """The lines of a rollout file, by reading it: of runs without an index.

    Raises InputError if it is damaged.
    """
    place = step_of(path)
    assert place is not None, "a file of rollouts"
    frames = (
        (frame, [(line["group"], rollout_of(line)) for line in lines])
        for frame, lines in read_frames(path)
    )
    return list(index_lines(path, *place, frames))


def recover_index(run_directory: Path) -> None:
    """Make the index say what is in the files that are there: their killed writer may have left
    less, more, or half a line. Only for the process that holds the run's lock."""
    path = index_path(run_directory)
    places = {file.name: step_of(file) for file in path.parent.glob("*.jsonl.zst")}
    files = {name: (place[0], place[1] or "") for name, place in places.items() if place}
    if not files:
        path.unlink(missing_ok=True)
        return
    try:
        known = list(read_lines(path))
    except (OSError, InputError):
        known = []
    # Lines are appended file by file: those of the last one may not all be there.
    cut = known[-1].get("file") if known else None
    kept = [line for line in known if line.get("file") in files and line["file"] != cut]
    indexed = {line["file"] for line in kept}
    for name in sorted(files.keys() - indexed, key=files.__getitem__):
        try:
            kept += lines_of(path.parent / name)
        except InputError as error:
            logger.warning("%s Its rollouts are not in the index.", error)
    write_atomically(path, b"".join(map(_line, [{"format": INDEX}, *kept])))


def task_digest(task: dict[str, Any]) -> str:
    """12 hexadecimal digits that depend on nothing but the task."""
    text = json.dumps(task, sort_keys=True, ensure_ascii=True, default=str)
    return sha256(text.encode()).hexdigest()[:12]


def task_preview(task: dict[str, Any]) -> str:
    """The beginning of the first text in a task, in one line."""
    texts = (value for value in task.values() if isinstance(value, str))
    return " ".join(next(texts, "").split())[:PREVIEW]


def _facts(rollout: Rollout) -> IndexLine:
    trajectory = rollout.trajectory
    sampled = trajectory.sampled_tokens
    stored = sum(len(segment.token_ids) for segment in trajectory.segments)
    return {
        "id": rollout.id,
        "task": task_digest(rollout.task),
        "about": task_preview(rollout.task),
        "reward": rollout.reward,
        "advantage": rollout.advantage,
        "error": rollout.error and rollout.error.kind,
        "turns": len(trajectory.calls),
        "prompt_tokens": stored - sampled,
        "tokens": sampled,
        "branches": len(trajectory.leaves()),
        "truncated": trajectory.truncated,
        "left_out": rollout.left_out or None,
        "attempts": rollout.attempts,
        "began": round(rollout.began, 3),
        "seconds": round(rollout.seconds, 3),
        "judge_seconds": round(rollout.judge_seconds, 3),
    }


def _line(fields: IndexLine) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=float)
    return text.encode("utf-8", "replace") + b"\n"
