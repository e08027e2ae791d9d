"""What came out, as rows: `results.json` for machines, `results.md` for people.

Each subject's outcome is kept in the cache directory as soon as it is there, so that a subject can
be measured again alone, and one that breaks costs none of the others.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from machine import describe
from race import Comparison

from agentscope_tuner.cache import cache_directory

JSON = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("results.md")
OUTCOMES = cache_directory() / "bench" / "outcomes"


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
    """Rows, and what is shown below the table."""

    rows: Sequence[Row] = ()
    details: str = ""
    """Markdown."""

    def save(self, subject: str) -> None:
        """Keep it until the subject is measured again."""
        OUTCOMES.mkdir(parents=True, exist_ok=True)
        (OUTCOMES / f"{subject}.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, subject: str) -> Outcome:
        """What was kept last; without rows if the subject has never been measured."""
        path = OUTCOMES / f"{subject}.json"
        if not path.exists():
            return cls()
        kept = json.loads(path.read_text())
        return cls([Row(**row) for row in kept["rows"]], kept["details"])


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| what | ours | against | ratio (spread) | target | | date |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_line(row) for row in rows),
    ]
    return "\n".join(lines)


def page(rows: Sequence[Row], details: Sequence[str], packages: str) -> str:
    """The whole report."""
    return "\n\n".join(
        [
            "# Benchmark results",
            "`make bench`, subject by subject; how each line is measured stands in "
            "[README.md](README.md).",
            describe(packages),
            table(rows),
            *details,
        ]
    )


def write(rows: Sequence[Row], text: str) -> None:
    """Write both files."""
    JSON.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    PAGE.write_text(text + "\n")


def _line(row: Row) -> str:
    if row.ratio is None:
        cells = (row.name, "", row.against, f"not measured: {row.note}", _target(row), "", row.date)
        return f"| {' | '.join(cells)} |"
    ours = f"{_number(row.ours)} {row.unit}"
    peer = f"{row.against}: {_number(row.peer)} {row.unit}"
    spread = f" ({_number(row.spread[0])} to {_number(row.spread[1])})" if row.spread else ""
    met = {True: "met", False: "not met", None: ""}[row.met]
    name = f"{row.name}; {row.note}" if row.note else row.name
    cells = (name, ours, peer, f"{_number(row.ratio)}{spread}", _target(row), met, row.date)
    return f"| {' | '.join(cells)} |"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    return f"{'at most' if row.lower_is_better else 'at least'} {_number(row.target)}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
