"""Rollouts: lists of them, a step, a group, one of them, and a task over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.frames import said
from agentscope_tuner.runs.index import IndexLine
from agentscope_tuner.runs.table import NUMBERS
from agentscope_tuner.viewer.filters import parse_filter
from agentscope_tuner.viewer.library import Library, Run

PAGE = 60
"""Rows of a list that are shown at once."""
MAX_SEARCHED = 5000
"""Rollouts that are opened to look for a text."""
MAX_STEP = 20_000
"""Rollouts of a step that are shown."""
MAX_ANSWERS = 200
"""Rollouts of a task whose answers are shown."""
PREVIEW = 400
"""Characters of an answer in a list."""


def list_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """Rollouts of the whole run that fit the filter `q`, sorted by `sort` (`-` before it: largest
    first), `PAGE` of them from `from` on."""
    run = _refreshed(library, query)
    rows, note = find(library, run, query.get("q", ""))
    sort = query.get("sort", "")
    if sort.lstrip("-") in NUMBERS:
        values = run.table.columns[sort.lstrip("-")][rows].astype(float)
        # Those without a number come last, either way.
        rows = rows[np.argsort(-values if sort.startswith("-") else values, kind="stable")]
    first = max(0, int(query.get("from", 0)))
    lines = run.table.lines(rows[first : first + PAGE])
    return {"total": len(rows), "from": first, "page": PAGE, "note": note, "rollouts": lines}


def step_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """The rollouts of a step, or of an evaluation `set` after it, that fit the filter `q`.

    `groups` are lists of lines of the index; a line that does not fit has `out` True.
    """
    run = _refreshed(library, query)
    rows = _rows_of(run, query)[:MAX_STEP]
    fitting, note = find(library, run, query.get("q", ""), rows)
    inside = set(fitting.tolist())
    groups: dict[str, list[IndexLine]] = {}
    for row, line in zip(rows.tolist(), run.table.lines(rows), strict=True):
        shown = line if row in inside else {**line, "out": True}
        groups.setdefault(line["group"], []).append(shown)
    return {
        "groups": [{"group": name, "rollouts": lines} for name, lines in groups.items()],
        "note": note,
        "fitting": len(inside),
    }


def group_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """All rollouts of a group with their tokens, and how many tokens they have in common."""
    run = _refreshed(library, query)
    lines = [line for line in _lines_of(run, query) if line["group"] == query["group"]]
    if not lines:
        raise InputError(f"There is no group {query['group']!r} in this step.")
    rollouts = [
        _shown(run, line, stored)
        for line, stored in zip(lines, _stored(library, run, lines), strict=True)
    ]
    return {
        "rollouts": rollouts,
        "shared": _shared([_first_branch(rollout) for rollout in rollouts]),
        "no_tokenizer": run.vocabulary.missing,
    }


def rollout_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """One rollout with everything that is known of it, and the ids before and after it."""
    run = _refreshed(library, query)
    lines = _lines_of(run, query)
    ids = [line["id"] for line in lines]
    if query["id"] not in ids:
        raise InputError(f"There is no rollout {query['id']!r} in this step.")
    at = ids.index(query["id"])
    [stored] = _stored(library, run, [lines[at]])
    return {
        "rollout": _shown(run, lines[at], stored),
        "before": ids[at - 1] if at else None,
        "after": ids[at + 1] if at + 1 < len(ids) else None,
        "no_tokenizer": run.vocabulary.missing,
        "program": run.configuration().get("workflow.workflow_func"),
    }


def task_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """Every rollout of one task, in the order of the steps, with its answer."""
    run = _refreshed(library, query)
    rows = parse_filter(f"task:{query['task']}").rows(run.table)
    rows = rows[np.argsort(run.table.columns["step"][rows], kind="stable")]
    shown = rows[-MAX_ANSWERS:]
    lines = run.table.lines(shown)
    if not lines:
        raise InputError("No rollout of this run has this task.")
    stored = _stored(library, run, lines)
    answers = [
        {**line, "answer": s["response"][:PREVIEW]} for line, s in zip(lines, stored, strict=True)
    ]
    left_out = len(rows) - len(shown)
    return {"task": stored[0]["task"], "rollouts": answers, "left_out": left_out}


def find(
    library: Library, run: Run, text: str, among: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], str | None]:
    """The rows that fit a filter, and what has to be said about it.

    Raises InputError if the filter cannot be understood.
    """
    wanted = parse_filter(text)
    rows = wanted.rows(run.table)
    if among is not None:
        rows = np.intersect1d(rows, among)
    if not wanted.texts:
        return rows, None
    searched = rows[-MAX_SEARCHED:]
    words = [word.casefold() for word in wanted.texts]
    found = [
        row
        for row, stored in zip(
            searched, _stored(library, run, run.table.lines(searched)), strict=True
        )
        if all(word in (content := said(stored).casefold()) for word in words) and content
    ]
    note = None
    if len(searched) < len(rows):
        note = f"Text was looked for in the last {len(searched):,} of {len(rows):,} rollouts only."
    return np.array(found, np.int64), note


def _refreshed(library: Library, query: Mapping[str, str]) -> Run:
    run = library.run(query["run"])
    run.table.refresh()
    return run


def _rows_of(run: Run, query: Mapping[str, str]) -> NDArray[np.int64]:
    columns = run.table.columns
    code = run.table.code("set", query.get("set") or None)
    return np.flatnonzero((columns["step"] == int(query["step"])) & (columns["set"] == code))


def _lines_of(run: Run, query: Mapping[str, str]) -> list[IndexLine]:
    return run.table.lines(_rows_of(run, query))


def _stored(library: Library, run: Run, lines: Sequence[IndexLine]) -> list[dict[str, Any]]:
    return library.frames.rollouts(run.directory, lines)


def _shown(run: Run, line: IndexLine, stored: dict[str, Any]) -> dict[str, Any]:
    """A stored rollout with its line of the index and the texts of its tokens."""
    trajectory = stored["trajectory"]
    segments = [
        {**segment, "texts": run.vocabulary.texts(segment["token_ids"])}
        for segment in trajectory["segments"]
    ]
    return {**stored, "facts": line, "trajectory": {**trajectory, "segments": segments}}


def _first_branch(rollout: dict[str, Any]) -> list[int]:
    """The tokens on the way to the first call's answer, and on to where it was continued."""
    segments = rollout["trajectory"]["segments"]
    tokens: list[int] = []
    at: int | None = None
    while True:
        children = [n for n, segment in enumerate(segments) if segment["parent"] == at]
        if not children:
            return tokens
        at = children[0]
        tokens += segments[at]["token_ids"]


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with in common; empty ones are left out."""
    known = [np.asarray(sequence) for sequence in sequences if sequence]
    if not known:
        return 0
    length = min(map(len, known))
    same = np.all([sequence[:length] == known[0][:length] for sequence in known], axis=0)
    return length if same.all() else int(np.argmin(same))
