"""The arithmetic example under every learning rule that it can be learnt with.

    python benchmarks/league.py [--types grpo ppo] [--seeds 0 1 2] [--runs 4] [--at-once 2]

Same model, tasks, samples and settings for all, so what differs is the rule. Each finished run is a
line of benchmarks/league.jsonl, and is not run again while the example is made of the same: the
league can be played in pieces (`--runs`: at most so many new ones now), and what there is stands in
docs/league.md after each. Some two minutes a run on two cores with AMX, five without; `--at-once 2`
gives each run one of them, which takes less time in all.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from arithmetic import make_dataset, play, program
from entries import Entry, of_program, read_entries, write_entries
from league_page import page

from agentscope_tuner.algorithms.catalogue import catalogue

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "league.md"
KEPT = ROOT / "benchmarks" / "league.jsonl"
SEEDS = (0, 1, 2)
"""The first alone for types that are not among `OFTEN_USED`."""
OFTEN_USED = (
    *("grpo", "multi_step_grpo", "dr_grpo", "rloo", "dapo", "gspo", "cispo", "ppo"),
    *("reinforceplusplus_baseline", "maxrl"),
)
LEFT_OUT = {
    "grpo_verl": "another name of `grpo`",
    "gdpo": "the task has one reward",
    **dict.fromkeys(("on_policy_distill", "topk_distill", "jsd"), "needs a teacher"),
    **dict.fromkeys(("mix", "mix_chord", "sft", "dpo"), "needs written answers"),
    "cpt": "needs texts",
}


def players() -> list[tuple[str, int]]:
    """(type, seed) of every run: first seeds first, so that each type has a result soon."""
    types = [*OFTEN_USED, *sorted(set(catalogue().types) - set(OFTEN_USED) - set(LEFT_OUT))]
    runs = [(name, seed) for seed in SEEDS for name in types]
    return [(name, seed) for name, seed in runs if seed == SEEDS[0] or name in OFTEN_USED]


def write(entries: Sequence[Entry]) -> None:
    """Keep them, and write the page of them."""
    PAGE.write_text(page(write_entries(KEPT, entries), LEFT_OUT, len(players())))


def main() -> None:
    """Play what is missing, and write the page after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", help="these only")
    parser.add_argument("--seeds", nargs="+", type=int, help="these only")
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="at most so many new ones")
    parser.add_argument("--at-once", type=int, default=1, help="so many beside each other")
    options = parser.parse_args()
    make_dataset()
    entries = of_program(read_entries(KEPT), program())
    played = {(entry.type, entry.seed) for entry in entries}
    missing = [
        (name, seed)
        for name, seed in players()
        if (name, seed) not in played
        and (not options.types or name in options.types)
        and (not options.seeds or seed in options.seeds)
    ]
    threads = max(1, len(os.sched_getaffinity(0)) // options.at_once)
    with ThreadPoolExecutor(options.at_once) as pool:
        runs = [
            pool.submit(play, name, [f"algorithm.algorithm_type={name}"], seed, threads)
            for name, seed in missing[: options.runs]
        ]
        failed = 0
        for run in as_completed(runs):
            if run.exception():
                failed += 1
                print(run.exception(), file=sys.stderr, flush=True)
                continue
            entries.append(entry := run.result())
            write(entries)
            print(f"{entry.type}, seed {entry.seed}: area {entry.area:.3f}", flush=True)
    if entries:
        write(entries)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
