"""What a rule has to say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["high", "medium", "low"]
"""high: the run learns nothing, or something else than was meant; medium: it learns less than it
could, or may be about to stop; low: time is lost, or less is known than it seems."""
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Seen:
    """A rollout that shows it."""

    id: str
    step: int
    set: str | None
    """The evaluation set; None: training's."""
    says: str = ""
    """What to see in it, in a line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a run."""

    rule: str
    severity: Severity
    what: str
    """A sentence."""
    evidence: str
    """The numbers, their keys and their steps."""
    do: str
    """One thing to do, a sentence."""
    rollouts: tuple[Seen, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "rollouts": [asdict(seen) for seen in self.rollouts]}

    def lines(self) -> list[str]:
        """As a terminal or a log has it; what models said in it may hold control characters."""
        shown = (f"  {seen.id}: {seen.says}" for seen in self.rollouts if seen.says)
        return [
            f"{self.severity}: {self.what} [{self.rule}]",
            f"  {self.evidence}",
            *shown,
            f"  -> {self.do}",
        ]
