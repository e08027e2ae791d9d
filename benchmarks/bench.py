"""Ours against the peers, and against what the machine can do.

    python benchmarks/bench.py [--quick] [--only sampling ...]

Writes `results.json` and `results.md` after each subject; those that are not measured now stay
there as they were. The quick form only prints.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys

from peers import ENVIRONMENTS
from race import Unavailable
from results import Outcome, Row, keep, kept, page

SUBJECTS = (
    "sampling",
    "latency",
    "agents",
    "startup",
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
    return outcome


def main() -> None:
    """Measure, print, and write."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # contestants end with the benchmark
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a part, with few repeats")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS)
    options = parser.parse_args()
    peers = ", ".join(environment.versions() for environment in ENVIRONMENTS)
    measured: dict[str, Outcome] = {}
    for subject in options.only or (QUICK_SUBJECTS if options.quick else SUBJECTS):
        measured[subject] = run(subject, options.quick)
        if not options.quick:
            known = kept() | measured
            keep({name: known[name] for name in SUBJECTS if name in known}, peers)
    print(page(measured, peers))


if __name__ == "__main__":
    main()
