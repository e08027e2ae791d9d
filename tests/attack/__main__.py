"""What docs/reliability.md promises, under attack.

    python -m attack [kills] [damage] [rollouts] [requests] [--light]

Runs the parts that are named, or all, and writes what came of them into docs/reliability.md; the
light form, which is a smaller one of each, only prints.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# One thread a process, set before any is imported that computes: several are attacked at once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

Part = Callable[[Path, bool], list[str]]
"""Attacks in a directory of its own, the lighter way or not; gives the lines to report."""


def parts() -> dict[str, Part]:
    from attack import damage, kills, requests, rollouts

    return {
        "kills": kills.attack_runs,
        "damage": damage.attack_directories,
        "rollouts": rollouts.attack_rollouts,
        "requests": requests.attack_endpoint,
    }


def main() -> None:
    """Attack, print, and write."""
    from attack.report import write_section

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every resumed run
    known = parts()
    parser = argparse.ArgumentParser(prog="attack", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(known))
    parser.add_argument("--light", action="store_true", help="a smaller attack, only printed")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(known):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in options.parts or known:
        print(f"attacking: {name}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"attack-{name}-") as directory:
            lines = known[name](Path(directory), options.light)
        minutes = (time.monotonic() - began) / 60
        print("\n".join(lines), f"\n({minutes:.1f} minutes)", flush=True)
        if not options.light:
            write_section(name, lines, minutes)


if __name__ == "__main__":
    main()
