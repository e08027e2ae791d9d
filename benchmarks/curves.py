"""The arithmetic example over several seeds: how far the held-out reward rises, and after how many
samples, beside TRL with the same model, tasks, judge, batch and learning rate.

    python benchmarks/curves.py [--contestants TRL] [--seeds 0 1] [--runs 4]

Each finished run is a line of benchmarks/curves.jsonl, and is not run again while the example is
made of the same: it can be played in pieces, and docs/results.md and docs/results.png are written
after each. On two cores without AMX some four minutes a seed for ours and some ten for TRL, which
is installed when first needed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from arithmetic import EVAL_INTERVAL, EXAMPLE, make_dataset, play, program
from curves_page import OURS, TRL, draw, page
from entries import Entry, of_program, read_entries, write_entries
from machine import processor
from models import MODEL, computes_bf16
from peers import TRL as ENVIRONMENT
from race import Contestant

from agentscope_tuner.inference.loading import resolve_model

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "curves.jsonl"
SEEDS = (0, 1, 2, 3, 4)
STEPS, BATCH = 16, 64


def play_trl(seed: int, threads: int) -> Entry:
    """The same with TRL, in the precision that ours takes on this processor."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "model": str(resolve_model(MODEL)),
            "data": str(EXAMPLE / "data"),
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
        program(),
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
    parser.add_argument("--contestants", nargs="+", choices=[OURS, TRL], default=[OURS, TRL])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="at most so many new ones")
    options = parser.parse_args()
    make_dataset()
    threads = len(os.sched_getaffinity(0))
    entries = of_program(read_entries(KEPT), program())
    played = {(entry.type, entry.seed) for entry in entries}
    missing = [
        (name, seed)
        for seed in options.seeds
        for name in options.contestants
        if (name, seed) not in played
    ]
    for name, seed in missing[: options.runs]:
        entry = play(name, [], seed, threads) if name == OURS else play_trl(seed, threads)
        print(f"{name}, seed {seed}: area {entry.area:.3f}", flush=True)
        entries = write_entries(KEPT, [*entries, entry])
        (ROOT / "docs" / "results.md").write_text(page(entries))
        draw(entries, ROOT / "docs" / "results.png")


if __name__ == "__main__":
    main()
