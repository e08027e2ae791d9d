"""The index of a run's rollouts in memory, as columns: filtered and sorted without its lines.

A million lines take about 80 MB. What is shown of a rollout is read from its line again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.formats import INDEX, refuse_newer
from agentscope_tuner.runs.index import IndexLine, index_path, lines_of
from agentscope_tuner.runs.rollouts import step_of

NUMBERS = {
    "step": "i4",
    "reward": "f4",
    "advantage": "f4",
    "turns": "i4",
    "prompt_tokens": "i4",
    "tokens": "i4",
    "branches": "i4",
    "attempts": "i4",
    "began": "f8",
    "seconds": "f4",
    "judge_seconds": "f4",
    "truncated": "?",
}
"""Columns that are numbers; NaN where a rollout has none."""
NAMES = ("set", "error", "left_out")
"""Columns of few different texts, kept as codes; code 0 is None."""
_CHUNK = 1 << 22


class RolloutTable:
    """All rollouts of a run, kept up with its index. May be used from several threads."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._path = index_path(run_directory)
        self._lock = threading.Lock()
        self._file: int | None = None
        self._end = 0
        self._memory: list[IndexLine] | None = None
        self._seen: dict[str, float] = {}
        self._codes: dict[str, dict[str | None, int]] = {}
        self.columns: dict[str, NDArray[Any]] = {}
        self._forget()

    def refresh(self) -> None:
        """Take what was written since; everything anew if the run went back.

        Raises InputError if the index is damaged or of a newer format.
        """
        with self._lock:
            try:
                stat = self._path.stat()
            except FileNotFoundError:
                self._read_files()
                return
            if self._file != stat.st_ino or stat.st_size < self._end:
                self._forget()
                self._file = stat.st_ino
            if stat.st_size > self._end:
                with self._path.open("rb") as file:
                    file.seek(self._end)
                    self._take(iter(lambda: file.read(_CHUNK), b""))

    def __len__(self) -> int:
        return len(self.columns["step"])

    def code(self, column: str, name: str | None) -> int:
        """The code of a name in a column of `NAMES`; -1 if no rollout has it."""
        return self._codes[column].get(name, -1)

    def name(self, column: str, code: int) -> str | None:
        """The name of a code."""
        return list(self._codes[column])[code]

    def lines(self, rows: Iterable[int]) -> list[IndexLine]:
        """What the index says of these rows."""
        if self._memory is not None:
            return [self._memory[int(row)] for row in rows]
        found = []
        with self._path.open("rb") as file:
            for row in rows:
                file.seek(int(self.columns["place"][row]))
                found.append(json.loads(file.readline()))
        return found

    def _forget(self) -> None:
        self._file = None
        self._end = 0
        self._memory = None
        self._seen = {}
        self._codes = {name: {None: 0} for name in NAMES}
        kinds = {**NUMBERS, "place": "i8", "task": "i8", **dict.fromkeys(NAMES, "i2")}
        self.columns = {n: np.empty(0, k) for n, k in kinds.items()}

    def _take(self, chunks: Iterator[bytes]) -> None:
        rest, parts = b"", []
        try:
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                rows, places = [], []
                for line in lines:
                    fields = json.loads(line)
                    if self._end == 0:
                        refuse_newer(self._path, fields["format"], INDEX)
                    else:
                        rows.append(fields)
                        places.append(self._end)
                    self._end += len(line) + 1
                parts.append(self._columns(rows, places))
        except InputError:
            self._forget()
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = self._end
            self._forget()
            raise InputError(f"{self._path} is damaged near byte {where}: {error}.") from error
        self._append(parts)

    def _columns(self, rows: Sequence[IndexLine], places: Sequence[int]) -> dict[str, NDArray[Any]]:
        new: dict[str, Any] = {"place": places, "task": [int(row["task"], 16) for row in rows]}
        for name in NUMBERS:
            new[name] = [row[name] for row in rows]
        for name in NAMES:
            codes = self._codes[name]
            new[name] = [codes.setdefault(row.get(name), len(codes)) for row in rows]
        # NumPy makes NaN of None.
        return {name: np.asarray(new[name], old.dtype) for name, old in self.columns.items()}

    def _append(self, parts: Sequence[dict[str, NDArray[Any]]]) -> None:
        self.columns = {
            name: np.concatenate([old, *(part[name] for part in parts)])
            for name, old in self.columns.items()
        }

    def _read_files(self) -> None:
        """A run from before there was an index: made in memory, nothing is written into the run."""
        files = self._path.parent.glob("*.jsonl.zst")
        places = {path: place for path in files if (place := step_of(path))}
        seen = {path.name: path.stat().st_mtime for path in places}
        if seen == self._seen:
            return
        self._forget()
        self._seen = seen
        order = sorted(places, key=lambda path: (places[path][0], places[path][1] or ""))
        self._memory = [line for path in order for line in lines_of(path)]
        self._append([self._columns(self._memory, [0] * len(self._memory))])
