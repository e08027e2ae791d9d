"""What the cases came to, as a page and as a verdict."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agreement.cases import NO_NUMBERS, NO_PEER, Case

TOLERANCE = 1e-5
HEADINGS = ("## Differs from Trinity-RFT, because", "## Differs from TRL and verl, because")


@dataclass(frozen=True, slots=True)
class Finding:
    """A case with the greatest differences over all draws, relative to max(1, |number|)."""

    case: Case
    differences: Mapping[str, float]
    """By what was compared."""

    @property
    def agrees(self) -> bool:
        """Whether every number is within the tolerance."""
        return all(difference <= TOLERANCE for difference in self.differences.values())

    @property
    def surprises(self) -> bool:
        """Whether it agrees where it should differ, or the reverse."""
        return self.agrees == bool(self.case.differs)


def named_differences(page: str) -> list[str]:
    """What docs/algorithms.md says is different: the column `here` of its tables."""
    rows: list[str] = []
    for heading in HEADINGS:
        section = page.split(heading, 1)[1].split("\n## ", 1)[0]
        rows += re.findall(r"^\| (.+?) \| .*\| .*\|$", section, re.MULTILINE)[2:]
    return rows


def unnamed(cases: Iterable[Case], page: str) -> list[str]:
    """Differences that a case shows and the page does not have, and the reverse."""
    shown = {case.differs for case in cases if case.differs} | set(NO_NUMBERS)
    rows = named_differences(page)
    missing = [name for name in shown if not any(row.startswith(name) for row in rows)]
    not_shown = [row for row in rows if not any(row.startswith(name) for name in shown)]
    return [
        *(f"docs/algorithms.md does not name: {name}" for name in missing),
        *(f"no case shows: {row}" for row in not_shown),
    ]


def report(findings: Sequence[Finding], draws: int, versions: str, machine: str) -> str:
    """The page."""
    agreeing = [finding for finding in findings if not finding.case.differs]
    differing = [finding for finding in findings if finding.case.differs]
    largest = max(d for finding in agreeing for d in finding.differences.values())
    return "\n".join(
        [
            "# The same numbers through the peers' own functions",
            "",
            f"`make against-peers`, {datetime.date.today()}, {machine}. {versions}.",
            "",
            f"{draws} draws a line, float32; a number is the greatest difference, relative to the",
            f"larger of 1 and the peer's number. {len(agreeing)} comparisons agree within "
            f"{TOLERANCE:g} (the worst: {largest:.1e}).",
            "`as it comes`: all defaults of both, from rewards to the gradient by each token's",
            "ln p, without a divergence and with the sampler's probabilities as the old ones.",
            "",
            "| type | what | peer | advantage | loss | gradient |",
            "| --- | --- | --- | --- | --- | --- |",
            *(line(finding) for finding in agreeing),
            "",
            "## Differences, each with its name in docs/algorithms.md",
            "",
            "| type | what | peer | named there | advantage | loss | gradient |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(line(finding, finding.case.differs) for finding in differing),
            "",
            "Of behaviour, which no number of a function shows:",
            "",
            *(f"- {name} (`{test}`)" for name, test in NO_NUMBERS.items()),
            "",
            "Without a peer here: "
            + "; ".join(f"`{name}` ({why})" for name, why in NO_PEER.items())
            + ".",
            "",
        ]
    )


def line(finding: Finding, *named: str) -> str:
    """One row."""
    case, found = finding.case, finding.differences
    numbers = [
        f"{found[name]:.0e}" if name in found else "" for name in ("advantage", "loss", "gradient")
    ]
    return "| " + " | ".join([f"`{case.type}`", case.what, case.peer, *named, *numbers]) + " |"
