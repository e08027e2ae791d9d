"""What a run does at this moment, for everything that shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Phase:
    """Something that the run does."""

    name: str
    total: int | None = None
    """Parts that it has; None: they are not counted."""
    began: float = field(default_factory=time.time)
    """Unix seconds."""
    done: int = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return max(0.0, time.time() - self.began)


class Phases:
    """The phase that is shown, of those that a run is in. Read from any thread.

    Rollouts may be drawn while the learner works. Then what the learner does is shown, and after
    it the rollouts again, as far as they have come by then.
    """

    def __init__(self) -> None:
        self.now: Phase | None = None
        """None: nothing has begun. Between two phases it is the one that has ended."""
        self._open: list[Phase] = []

    @contextmanager
    def begun(self, name: str, total: int | None = None) -> Iterator[Phase]:
        """The run does this while the block runs."""
        phase = Phase(name, total)
        self._open.append(phase)
        self._look()
        try:
            yield phase
        finally:
            self._open.remove(phase)
            self._look()

    def _look(self) -> None:
        uncounted = [phase for phase in self._open if phase.total is None]
        self.now = next(iter(uncounted or self._open), self.now)
