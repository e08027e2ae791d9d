"""Our sampler under more and more concurrent requests."""

from __future__ import annotations

import statistics

from models import bf16_directory
from results import Outcome, Row

from rows.sampling import UNIT, our_sampler, rate, request


def measure(quick: bool) -> Outcome:
    """The greatest fall of the throughput from any point to a later one."""
    points = (8, 64, 256) if quick else (8, 16, 32, 64, 128, 256)
    repeats = 2 if quick else 5
    rates: dict[int, list[float]] = {point: [] for point in points}
    with our_sampler(str(bf16_directory())) as ours:
        ours.ask(request(seed=0, requests=64, samples=1))
        for seed in range(1, repeats + 1):
            for point in points:
                rates[point].append(rate(ours.ask(request(seed, point, samples=1))))
    medians = [statistics.median(rates[point]) for point in points]
    falls = [
        (later / earlier, earlier, later)
        for i, earlier in enumerate(medians)
        for later in medians[i + 1 :]
    ]
    ratio, before, after = min(falls)
    row = Row(
        f"throughput from {points[0]} to {points[-1]} concurrent requests, where it falls most",
        UNIT,
        target=0.9,
        ours=after,
        against="with fewer requests",
        peer=before,
        ratio=ratio,
    )
    lines = [
        f"| {point} | {statistics.median(rates[point]):,.0f} | "
        f"{min(rates[point]):,.0f} to {max(rates[point]):,.0f} |"
        for point in points
    ]
    details = "\n".join(
        [
            "## Concurrent requests",
            "",
            "| requests | tokens/s (median) | range |",
            "| --- | --- | --- |",
            *lines,
        ]
    )
    return Outcome([row], details)
