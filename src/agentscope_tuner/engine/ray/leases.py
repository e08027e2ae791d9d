"""Which rollouts are still to be done, and who does them.

A **lease** is one rollout that somebody has to do. It is `waiting` until it is dealt, `held` by one
worker then, and closed by the first result that arrives. A worker that is lost gives back what it
holds; what it might still send counts for nothing, as its leases are closed by others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.rollout.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Lease:
    """One rollout to be done; the same lease gives the same draws wherever it is done."""

    number: int
    """Unlike that of every other lease of the run."""
    label: str
    group: int
    index: int
    task: dict[str, Any]
    seed: int
    sampling: Sampling

    @property
    def name(self) -> str:
        """The id of its rollout."""
        return f"{self.label}-{self.group}-{self.index}"


class LeaseTable:
    """All leases that are not closed."""

    def __init__(self) -> None:
        self._waiting: deque[Lease] = deque()
        self._held: dict[int, dict[int, Lease]] = {}
        """By worker, by the lease's number."""
        self._losses: Counter[int] = Counter()
        """How often a lease was held by a worker that was lost, by its number."""

    @property
    def waiting(self) -> int:
        """How many nobody holds."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """How many are not closed."""
        return len(self._waiting) + sum(map(len, self._held.values()))

    def held_by(self, worker: int) -> int:
        """How many a worker holds."""
        return len(self._held.get(worker, ()))

    def add(self, leases: Iterable[Lease]) -> None:
        """Put new leases behind those that wait."""
        self._waiting.extend(leases)

    def deal(self, slots: dict[int, int]) -> dict[int, list[Lease]]:
        """Give what waits to workers, of which each can hold as many as `slots` says.

        The one that holds least is dealt first. Rollouts of a group stay together, as they share
        their prompt, unless one worker would then have more than its share.
        """
        dealt: dict[int, list[Lease]] = {}
        share = -(-self.open // max(1, len(slots)))
        while self._waiting:
            free = {w: most - self.held_by(w) for w, most in slots.items()}
            able = [w for w in free if free[w] > 0]
            if not able:
                break
            worker = min(able, key=self.held_by)
            for lease in self._next_together(min(free[worker], share)):
                self._held.setdefault(worker, {})[lease.number] = lease
                dealt.setdefault(worker, []).append(lease)
        return dealt

    def close(self, worker: int, number: int) -> bool:
        """Whether a worker's result counts: not if another one's did, or the worker was lost."""
        if self._held.get(worker, {}).pop(number, None) is None:
            return False
        del self._losses[number]
        return True

    def lose(self, worker: int) -> list[Lease]:
        """Take back what a worker holds, to be dealt first."""
        leases = list(self._held.pop(worker, {}).values())
        self._waiting.extendleft(reversed(leases))
        self._losses.update(lease.number for lease in leases)
        return leases

    def losses_of(self, lease: Lease) -> int:
        """How often a worker was lost that held it."""
        return self._losses[lease.number]

    def drop(self, numbers: set[int]) -> None:
        """Close leases whose results nobody wants any more."""
        self._waiting = deque(lease for lease in self._waiting if lease.number not in numbers)
        for held in self._held.values():
            for number in numbers & held.keys():
                del held[number]
        for number in numbers:
            del self._losses[number]

    def _next_together(self, most: int) -> list[Lease]:
        """The next leases of one group."""
        first = self._waiting[0]
        taken: list[Lease] = []
        while self._waiting and len(taken) < most:
            if (self._waiting[0].label, self._waiting[0].group) != (first.label, first.group):
                break
            taken.append(self._waiting.popleft())
        return taken
