"""The arithmetic example over several seeds: how far the held-out reward rises, and after how many
samples, beside TRL with the same model, tasks, judge, batch and learning rate.

    python benchmarks/curves.py [--families products] [--contestants TRL] [--seeds 0 1] [--runs 4]

The same again with tasks of another family, for which no setting was tried. Each finished run is a
line of the family's file beside this one, and is not run again while the example is made of the
same: it can be played in pieces, and docs/results.md and its pictures are written after each. On
two cores without AMX some four minutes a seed for ours and some ten for TRL, which is installed
when first needed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from arithmetic import EVAL_INTERVAL, play, program
from curves_page import OURS, TRL, draw, page
from entries import Entry, of_program, read_entries, write_entries
from families import FAMILIES, SUMS, Family
from machine import processor
from models import MODEL, computes_bf16
from peers import TRL as ENVIRONMENT
from race import Contestant

from agentscope_tuner.inference.loading import resolve_model

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
SEEDS = (0, 1, 2, 3, 4)
SEEDS_OF_OTHERS = SEEDS[:2]
"""Of other families than the example's own."""
STEPS, BATCH = 16, 64


def play_trl(data: Path, seed: int, threads: int) -> Entry:
    """The same with TRL, in the precision that ours takes on this processor."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "model": str(resolve_model(MODEL)),
            "data": str(data),
            "output": directory,
            "steps": STEPS,
            "eval_interval": EVAL_INTERVAL,
            "seed": seed,
            "bf16": computes_bf16(),
        }
        with Contestant("trl-curves", "demo_trl.py", settings, ENVIRONMENT.python) as trl:
            answers = [trl.about, *(trl.ask({}) for _ in range(STEPS))]
    evaluated = {step: a for step, a in enumerate(answers) if "held_out" in a}
    return Entry(
        program(data),
        TRL,
        seed,
        curve={step: answer["held_out"] for step, answer in evaluated.items()},
        answers=answers[0]["answers"],
        samples=STEPS * BATCH,
        cpu_seconds=None,
        machine=processor(),
    )


def main() -> None:
    """Play what is missing, and write the page after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--contestants", nargs="+", choices=[OURS, TRL], default=[OURS, TRL])
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="at most so many new ones")
    options = parser.parse_args()
    missing = [
        (family, name, seed)
        for family in (FAMILIES[name] for name in options.families)
        for name, seed in missing_of(family, options.contestants, options.seeds)
    ]
    threads = len(os.sched_getaffinity(0))
    for family, name, seed in missing[: options.runs]:
        if name == OURS:
            entry = play(name, [], seed, threads, family.data)
        else:
            entry = play_trl(family.data, seed, threads)
        print(f"{family.file}, {name}, seed {seed}: area {entry.area:.3f}", flush=True)
        keep(family, entry)


def missing_of(
    family: Family, contestants: Sequence[str], seeds: Sequence[int] | None
) -> list[tuple[str, int]]:
    """Which of these runs there are not, with the tasks as they are now, which it writes."""
    family.make()
    entries = of_program(read_entries(family.kept), program(family.data))
    played = {(entry.type, entry.seed) for entry in entries}
    own = SEEDS if family is SUMS else SEEDS_OF_OTHERS
    runs = [(name, seed) for seed in seeds or own for name in contestants]
    return [run for run in runs if run not in played]


def keep(family: Family, entry: Entry) -> None:
    """Keep a run with those of the same tasks, and write the page and the family's picture."""
    entries = of_program(read_entries(family.kept), entry.program)
    draw(family.title, write_entries(family.kept, [*entries, entry]), family.picture)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
