"""Rollouts on disk: `rollouts/step_<n>.jsonl.zst` and `rollouts/eval_<set>_<n>.jsonl.zst`.

A file is a row of zstd frames, one a group; each decompresses to one line of JSON a rollout
(`encoding`). Whoever knows where a frame lies reads one group without the others; `zstdcat` and
`read_rollouts` read them all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import zstandard

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.encoding import rollout_line, rollout_of
from agentscope_tuner.runs.formats import ROLLOUTS, refuse_newer
from agentscope_tuner.trajectory import Rollout, RolloutGroup

MAX_GROUP = 1 << 30
"""Bytes that a frame may decompress to: a damaged or hostile file fills no memory."""

_NAME = re.compile(r"(?:step|eval_(?P<set>.+))_(?P<step>\d+)\.jsonl\.zst")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a group lies in its file, in bytes."""

    offset: int
    length: int


def rollouts_path(run_directory: Path, step: int, evaluation: str | None = None) -> Path:
    """Where a run keeps the rollouts of this step, or of an evaluation set after it."""
    name = f"step_{step}" if evaluation is None else f"eval_{_file_name(evaluation)}_{step}"
    return run_directory / "rollouts" / f"{name}.jsonl.zst"


def step_of(path: Path) -> tuple[int, str | None] | None:
    """Step and evaluation set of a file by its name; None if it holds no rollouts."""
    name = _NAME.fullmatch(path.name)
    return None if name is None else (int(name["step"]), name["set"])


def write_rollouts(path: Path, groups: Sequence[RolloutGroup]) -> list[Frame]:
    """Write all rollouts of these groups, durably; the file is there whole or not at all.

    Returns the place of each group.
    """
    path.parent.mkdir(exist_ok=True)  # not the run's own directory: it may have been deleted
    beside = path.with_name(f".{path.name}.tmp")
    compressor = zstandard.ZstdCompressor()
    frames, end = [], 0
    try:
        with beside.open("wb") as file:
            for group in groups:
                lines = b"".join(rollout_line(rollout, group.id) for rollout in group.rollouts)
                written = file.write(compressor.compress(lines))
                frames.append(Frame(end, written))
                end += written
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return frames


def read_rollouts(path: Path) -> list[Rollout]:
    """The rollouts that `write_rollouts` wrote, in its order.

    Raises InputError if the file is damaged, holds something else, or is of a newer format.
    """
    with _naming_damage(path):
        return [rollout_of(line) for _, lines in read_frames(path) for line in lines]


def read_frame(path: Path, frame: Frame) -> list[dict[str, Any]]:
    """The lines of one group, as they stand in the file. Raises InputError as `read_rollouts`."""
    with _naming_damage(path):
        with path.open("rb") as file:
            file.seek(frame.offset)
            content = file.read(frame.length)
        if len(content) < frame.length:
            raise ValueError("its end is missing")
        return _lines(path, content)


def read_frames(path: Path) -> Iterator[tuple[Frame, list[dict[str, Any]]]]:
    """Every frame of a file with its lines. Raises InputError as `read_rollouts`."""
    with _naming_damage(path):
        content = path.read_bytes()
        at = 0
        while at < len(content):
            length = _frame_length(content[at:])
            yield Frame(at, length), _lines(path, content[at : at + length])
            at += length


def _lines(path: Path, frame: bytes) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in _decompressed(frame).splitlines()]
    for line in lines:
        refuse_newer(path, line.get("format", 1), ROLLOUTS)
    return lines


def _decompressed(frame: bytes) -> bytes:
    """Piece by piece: `read` allocates what it is asked for before it knows what there is."""
    pieces, size = list[bytes](), 0
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(frame)) as reader:
        while piece := reader.read(_CHUNK):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_GROUP:
                raise ValueError(f"a group has more than {MAX_GROUP} bytes")
    return b"".join(pieces)


def _frame_length(content: bytes) -> int:
    """The bytes of the first frame in `content`."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    at = 0
    while not decompressor.eof:
        if at >= len(content):
            raise ValueError("its end is missing")
        decompressor.decompress(content[at : at + _CHUNK])
        at += _CHUNK
    return min(at, len(content)) - len(decompressor.unused_data)


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Raise InputError, which names the file, for whatever reading a damaged one raises."""
    try:
        yield
    except InputError:
        raise
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged or holds no rollouts ({error}).") from error


def _file_name(evaluation: str) -> str:
    """The set's name as part of a file's: two sets never share one."""
    plain = re.sub(r"[^\w.-]", "_", evaluation)[:60]
    if plain == evaluation:
        return plain
    return f"{plain}-{sha256(evaluation.encode()).hexdigest()[:8]}"
