"""Groups of rollouts read from their files, the last ones kept."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.encoding import rollout_fields, rollout_of
from agentscope_tuner.runs.index import IndexLine
from agentscope_tuner.runs.rollouts import Frame, read_frame, step_of

MAX_COMPRESSED = 64 << 20
"""Bytes of a frame beyond which it is not opened."""
_KEPT = 24 << 20
"""Compressed bytes whose content is kept in memory."""

Key = tuple[Path, int, int, float]


class Frames:
    """A cache of what frames hold, least recently used ones first to go."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def rollouts(self, run: Path, lines: Sequence[IndexLine]) -> list[dict[str, Any]]:
        """The stored rollouts of these lines of the index, in their order.

        Raises InputError: the file is gone, damaged, too big, or not the run's own.
        """
        return [self._rollout(run, line) for line in lines]

    def _rollout(self, run: Path, line: IndexLine) -> dict[str, Any]:
        stored = self._frame(own_file(run, line["file"]), line["offset"], line["length"])
        try:
            return stored[line["line"]]
        except IndexError:
            raise InputError(f"{line['file']} has no line {line['line']}: it is damaged.") from None

    def _frame(self, path: Path, offset: int, length: int) -> list[dict[str, Any]]:
        if length > MAX_COMPRESSED:
            raise InputError(f"A group of {path} has {length:,} bytes, too many to be shown.")
        key = (path, offset, length, path.stat().st_mtime)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        content = [_as_now(line) for line in read_frame(path, Frame(offset, length))]
        with self._lock:
            self._kept[key] = content
            while sum(kept[2] for kept in self._kept) > _KEPT and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return content


def own_file(run: Path, name: str) -> Path:
    """The run's rollout file of this name. Raises InputError if it is none, or leads elsewhere."""
    path = run / "rollouts" / name
    inside = path.name == name and step_of(path) is not None
    if not inside or not path.resolve().is_relative_to(run.resolve()):
        raise InputError(f"{name!r} is not a file of rollouts of this run.")
    if not path.is_file():
        raise InputError(f"{path} is gone: the run that wrote it has gone back, or was removed.")
    return path


def said(rollout: dict[str, Any]) -> str:
    """Everything that a search for text looks at: what was asked, answered, judged and logged."""
    parts = [rollout["task"], rollout["response"], rollout.get("explanation"), rollout["error"]]
    for call in [*rollout["trajectory"]["calls"], *rollout.get("auxiliary_calls", ())]:
        parts += [call["messages"], call["response"]]
    parts += [line["text"] for line in rollout.get("log", ())]
    texts = (
        part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts
    )
    return "\n".join(texts)


def _as_now(line: dict[str, Any]) -> dict[str, Any]:
    """A line of any known format as this version writes it."""
    if "format" in line:
        return line
    return {"group": line["group"], **json.loads(json.dumps(rollout_fields(rollout_of(line))))}
