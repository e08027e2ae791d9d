"""What a long run pays for its files, when there are few of them and when there are many."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from race import Contestant
from results import Outcome, Row

STEPS, EVERY = 10_000, 500
QUICK_STEPS, QUICK_EVERY = 400, 50
FLAT = 1.05


def measure(quick: bool) -> Outcome:
    """Processor time of a step and resident memory: the last fifth against the second one.

    The first fifth fills what has a bound: caches, buffers, the allocator's memory.
    """
    steps, every = (QUICK_STEPS, QUICK_EVERY) if quick else (STEPS, EVERY)
    with Contestant("ours-bookkeeping", "bookkeeping.py", {}) as ours:
        answer = ours.ask({"steps": steps, "every": every})
    resident = [value / 1e6 for value in answer["resident"]]
    name = f"bookkeeping of {steps:,} steps without a model"
    return Outcome(
        [
            compared(f"{name}, processor time of a step", "ms", answer["milliseconds"]),
            compared(f"{name}, resident memory", "MB", resident),
        ]
    )


def compared(name: str, unit: str, values: Sequence[float]) -> Row:
    """The row of one series."""
    fifth = len(values) // 5
    early, late = (statistics.median(part) for part in (values[fifth : 2 * fifth], values[-fifth:]))
    return Row(
        name,
        unit,
        target=FLAT,
        lower_is_better=True,
        ours=late,
        against="early steps",
        peer=early,
        ratio=late / early,
    )
