"""The arithmetic example under every learning rule that it can be learnt with.

    python benchmarks/league.py [--types grpo ppo] [--seeds 0 1 2] [--runs 4] [--only-write]

Same model, tasks, samples and settings for all, so what differs is the rule. Each finished run is
kept in the cache directory, under what the example is made of, and never run again: the league can
be played in pieces (`--runs`: at most so many new ones now), and what there is stands in
docs/league.md after each. Some three minutes a run on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from league_page import Entry, page
from machine import processor

from agentscope_tuner.algorithms.catalogue import catalogue
from agentscope_tuner.cache import cache_directory
from agentscope_tuner.monitor.jsonl import read_metrics

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "arithmetic"
PAGE = ROOT / "docs" / "league.md"
HELD_OUT = "eval/test"
EVAL_INTERVAL = 4
SEEDS = (0, 1, 2)
"""The first alone for types that are not among `OFTEN_USED`."""
OFTEN_USED = (
    *("grpo", "multi_step_grpo", "dr_grpo", "rloo", "dapo", "gspo", "cispo", "ppo"),
    *("reinforceplusplus_baseline", "maxrl"),
)
LEFT_OUT = {
    "grpo_verl": "another name of `grpo`",
    "gdpo": "the task has one reward",
    **dict.fromkeys(("on_policy_distill", "jsd"), "needs a teacher"),
    **dict.fromkeys(("mix", "mix_chord", "sft", "dpo"), "needs written answers"),
    "cpt": "needs texts",
}


def players() -> list[tuple[str, int]]:
    """(type, seed) of every run: first seeds first, so that each type has a result soon."""
    types = [*OFTEN_USED, *sorted(set(catalogue().types) - set(OFTEN_USED) - set(LEFT_OUT))]
    runs = [(name, seed) for seed in SEEDS for name in types]
    return [(name, seed) for name, seed in runs if seed == SEEDS[0] or name in OFTEN_USED]


def results() -> Path:
    """Where finished runs of the example as it is now are kept."""
    files = [EXAMPLE / "main.py", *sorted((EXAMPLE / "data").glob("*.jsonl"))]
    digest = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    return cache_directory() / "bench" / "league" / digest


def play(algorithm_type: str, seed: int) -> Entry:
    """Run the example with this type and seed."""
    with tempfile.TemporaryDirectory() as directory:
        settings = [
            f"algorithm.algorithm_type={algorithm_type}",
            f"seed={seed}",
            "name=run",
            f"explorer.eval_interval={EVAL_INTERVAL}",
            f"checkpoint_root_dir={directory}",
        ]
        subprocess.run(
            [
                *(sys.executable, "-m", "agentscope_tuner", "run", str(EXAMPLE / "main.py")),
                *(part for setting in settings for part in ("--set", setting)),
            ],
            check=True,
        )
        records = read_metrics(Path(directory) / "AgentScope" / "run" / "metrics.jsonl")
    evaluations = [record for record in records if f"{HELD_OUT}/reward/mean" in record]
    return Entry(
        algorithm_type,
        seed,
        curve={int(r["step"]): r[f"{HELD_OUT}/reward/mean"] for r in evaluations},
        answers=int(evaluations[-1][f"{HELD_OUT}/rollout/count"]),
        samples=int(sum(r["rollout/count"] for r in records if "time/step" in r)),
        seconds=sum(r.get("time/step", 0.0) for r in records),
    )


def kept(directory: Path) -> list[Entry]:
    """Everything that is finished."""
    return [Entry.read(json.loads(path.read_text())) for path in sorted(directory.glob("*.json"))]


def write(entries: Sequence[Entry]) -> None:
    """Write the page of what there is."""
    PAGE.write_text(page(entries, LEFT_OUT, processor(), len(players())))


def main() -> None:
    """Play what is missing, and write the page after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", help="these only")
    parser.add_argument("--seeds", nargs="+", type=int, help="these only")
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="at most so many new ones")
    parser.add_argument("--only-write", action="store_true", help="write the page of what is there")
    options = parser.parse_args()
    subprocess.run([sys.executable, str(EXAMPLE / "make_dataset.py")], check=True)
    directory = results()
    directory.mkdir(parents=True, exist_ok=True)
    missing = [
        (name, seed)
        for name, seed in players()
        if (not options.types or name in options.types)
        and (not options.seeds or seed in options.seeds)
        and not (directory / f"{name}-{seed}.json").exists()
    ]
    for name, seed in [] if options.only_write else missing[: options.runs]:
        entry = play(name, seed)
        (directory / f"{name}-{seed}.json").write_text(json.dumps(entry.plain()))
        write(kept(directory))
        print(f"{name}, seed {seed}: area {entry.area:.3f}, final {entry.final:.3f}", flush=True)
    if entries := kept(directory):
        write(entries)


if __name__ == "__main__":
    main()
