"""What came out, as rows: `results.json` for machines, `results.md` for people.

Each subject's outcome is kept, with the machine that it was measured on, as soon as it is there: a
subject can be measured again alone, on another machine too, and one that breaks costs none of the
others.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machine import describe, lettered
from race import Comparison

JSON = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("results.md")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; None: not measured, the note says why."""

    name: str
    unit: str
    """Of `ours` and `peer`."""
    target: float | None
    """What `ratio` is to reach; None: there is no target."""
    lower_is_better: bool = False
    ours: float | None = None
    against: str = ""
    """Who or what the peer is."""
    peer: float | None = None
    ratio: float | None = None
    """Median of ours / peer."""
    spread: tuple[float, float] | None = None
    """The least and the greatest ratio of a pair."""
    note: str = ""
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    @classmethod
    def of(
        cls,
        name: str,
        unit: str,
        comparison: Comparison,
        *,
        against: str,
        target: float | None,
        lower_is_better: bool = False,
        note: str = "",
    ) -> Row:
        """A comparison as a row."""
        return cls(
            name,
            unit,
            target,
            lower_is_better,
            ours=comparison.ours,
            against=against,
            peer=comparison.peer,
            ratio=comparison.ratio,
            spread=comparison.spread,
            note=note,
        )

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target if self.lower_is_better else self.ratio >= self.target


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows of a subject, and what is shown below the table."""

    rows: Sequence[Row] = ()
    details: str = ""
    """Markdown."""
    machine: str = field(default_factory=describe)
    """What the figures hold for."""
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))
    """Of the machine when all was measured, the benchmark's own included."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Outcome:
        """From JSON."""
        return cls(**{**plain, "rows": [Row(**row) for row in plain["rows"]]})


def kept() -> dict[str, Outcome]:
    """The last outcome of each subject that was ever measured."""
    subjects = json.loads(JSON.read_text()) if JSON.exists() else {}
    return {subject: Outcome.read(plain) for subject, plain in subjects.items()}


def keep(outcomes: Mapping[str, Outcome], peers: str) -> None:
    """Write both files."""
    plain = {subject: asdict(outcome) for subject, outcome in outcomes.items()}
    JSON.write_text(json.dumps(plain, indent=2) + "\n")
    PAGE.write_text(page(outcomes, peers) + "\n")


def page(outcomes: Mapping[str, Outcome], peers: str) -> str:
    """The whole report; `peers` are their packages."""
    letters = lettered(outcome.machine for outcome in outcomes.values())
    lines = [
        "| what | ours | against | ratio (spread) | target | | on | load | date |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            _line(row, letters[outcome.machine], outcome.load)
            for outcome in outcomes.values()
            for row in outcome.rows
        ),
    ]
    return "\n\n".join(
        [
            "# Benchmark results",
            "`make bench`, subject by subject; how each line is measured stands in "
            "[README.md](README.md).",
            "\n".join(
                [
                    *(f"- {letter}: {machine}" for machine, letter in letters.items()),
                    f"- peers: {peers}",
                ]
            ),
            "\n".join(lines),
            *(outcome.details for outcome in outcomes.values() if outcome.details),
        ]
    )


def _line(row: Row, machine: str, load: float) -> str:
    measured = (machine, f"{load}", row.date)
    if row.ratio is None:
        why = f"not measured: {row.note}"
        cells = (row.name, "", row.against, why, _target(row), "", *measured)
        return f"| {' | '.join(cells)} |"
    ours = f"{_number(row.ours)} {row.unit}"
    peer = f"{row.against}: {_number(row.peer)} {row.unit}"
    spread = f" ({_number(row.spread[0])} to {_number(row.spread[1])})" if row.spread else ""
    met = {True: "met", False: "not met", None: ""}[row.met]
    name = f"{row.name}; {row.note}" if row.note else row.name
    cells = (name, ours, peer, f"{_number(row.ratio)}{spread}", _target(row), met, *measured)
    return f"| {' | '.join(cells)} |"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    return f"{'at most' if row.lower_is_better else 'at least'} {_number(row.target)}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
