"""Ours against the peers, and against what the machine can do.

    python benchmarks/bench.py [--quick] [--only sampling ...]

Writes `results.json` and `results.md`, where the subjects that were not measured now stay as they
were; the quick form only prints.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys

from peers import ENVIRONMENTS
from race import Unavailable
from results import Outcome, Row, page, write

SUBJECTS = (
    "sampling",
    "agents",
    "demo",
    "training",
    "turns",
    "memory",
    "concurrency",
    "overhead",
    "scopes",
    "lora",
    "long_prompts",
    "bookkeeping",
    "cluster",
    "exported",
)
QUICK_SUBJECTS = ("sampling", "agents", "demo", "memory", "concurrency", "overhead")


def run(subject: str, quick: bool) -> Outcome:
    """One subject's outcome; if it cannot be measured here, a row that says why."""
    print(f"measuring {subject}", flush=True)
    try:
        outcome: Outcome = importlib.import_module(f"rows.{subject}").measure(quick)
    except Unavailable as error:
        outcome = Outcome([Row(subject, "", None, note=str(error))])
    if not quick:
        outcome.save(subject)
    return outcome


def main() -> None:
    """Measure, print, and write."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # contestants end with the benchmark
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a part, with few repeats")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS)
    options = parser.parse_args()
    subjects = options.only or (QUICK_SUBJECTS if options.quick else SUBJECTS)
    outcomes = [run(subject, options.quick) for subject in subjects]
    if not options.quick:
        outcomes = [Outcome.load(subject) for subject in SUBJECTS]
    rows = [row for outcome in outcomes for row in outcome.rows]
    text = page(
        rows,
        [outcome.details for outcome in outcomes if outcome.details],
        packages=", ".join(environment.versions() for environment in ENVIRONMENTS),
    )
    print(text)
    if not options.quick:
        write(rows, text)


if __name__ == "__main__":
    main()
