"""Filters as they are typed: `reward<0.5 turns>3 error:timeout "sorry"`.

Terms stand for *and*. `key<number` (also `<=`, `>`, `>=`, `=`, `!=`) compares a column; `set:name`,
`error:kind`, `left_out:operator` and `task:digest` compare names, with `none` and `any`; `failed`
and `truncated` stand for themselves; `began` is compared with a time (`began>2026-11-24T16:00`).
Anything else, quoted if it has blanks, is text that has to occur in what was said.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.table import NAMES, NUMBERS, RolloutTable

_COMPARISON = re.compile(r"(\w+)(<=|>=|!=|<|>|=)(.+)")
_NAMED = re.compile(r"(\w+):(.+)")
_OPERATIONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "=": np.equal,
    "!=": np.not_equal,
}


@dataclass(slots=True)
class Filter:
    """A filter that was understood."""

    comparisons: list[tuple[str, str, float]] = field(default_factory=list)
    names: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def rows(self, table: RolloutTable) -> NDArray[np.int64]:
        """The rows that fit, as far as the table can say; `texts` are not looked for."""
        fits = np.ones(len(table), bool)
        for key, operation, number in self.comparisons:
            column = table.columns[key]
            wanted = np.float32(number) if column.dtype == np.float32 else number
            fits &= _OPERATIONS[operation](column, wanted) & ~np.isnan(column)
        for key, name in self.names:
            fits &= _named(table, key, name)
        return np.flatnonzero(fits)


def parse_filter(text: str) -> Filter:
    """What was typed. Raises InputError with a sentence for what cannot be understood."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise InputError(f"The filter {text!r} has a quotation mark too few or too many.") from None
    result = Filter()
    for word in words:
        comparison, named = _COMPARISON.fullmatch(word), _NAMED.fullmatch(word)
        if word in ("failed", "truncated"):
            result.names.append((word, ""))
        elif comparison and comparison[1].isidentifier():
            key = _known(comparison[1], [*NUMBERS])
            result.comparisons.append((key, comparison[2], _number(key, comparison[3])))
        elif named and named[1] in (*NAMES, "task"):
            result.names.append((named[1], named[2]))
        else:
            result.texts.append(word)
    return result


def _named(table: RolloutTable, key: str, name: str) -> NDArray[np.bool_]:
    if key == "truncated":
        return table.columns["truncated"]
    if key == "failed":
        return table.columns["error"] != 0
    if key == "task":
        try:
            return table.columns["task"] == int(name, 16)
        except ValueError:
            raise InputError(f"task:{name} is no digest of a task (12 digits, 0-9a-f).") from None
    column = table.columns[key]
    if name == "any":
        return column != 0
    return column == table.code(key, None if name == "none" else name)


def _known(key: str, known: list[str]) -> str:
    if key in known:
        return key
    near = get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    raise InputError(f"There is nothing called {key!r} to filter by: {hint}")


def _number(key: str, text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp() if key == "began" else float(text)
    except ValueError:
        what = "time (2026-11-24T16:00)" if key == "began" else "number"
        raise InputError(f"{key} is compared with a {what}, not with {text!r}.") from None
