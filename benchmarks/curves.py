"""The arithmetic example over several seeds: how far the held-out reward rises, and how fast.

    python benchmarks/curves.py [--seeds 0 1 2 3 4]

writes docs/results.md and docs/results.png. About two minutes a seed on two cores.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from arithmetic import ExampleRun, Records, held_out, make_dataset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]


def run_seed(seed: int, directory: str) -> tuple[Records, float]:
    """The metrics of one run and its wall time in seconds."""
    run = ExampleRun(Path(directory), f"seed-{seed}", [f"seed={seed}"])
    began = time.perf_counter()
    subprocess.run(run.command, check=True)
    return run.metrics(), time.perf_counter() - began


def draw(runs: dict[int, Records], path: Path) -> None:
    """Training rewards, thin, and held-out rewards, thick, of all seeds."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (seed, records) in enumerate(runs.items()):
        steps = [record for record in records if "reward/mean" in record]
        x, y = [r["step"] for r in steps], [r["reward/mean"] for r in steps]
        axes.plot(x, y, color=f"C{number}", alpha=0.35, linewidth=1)
        points = held_out(records)
        axes.plot([*points], [*points.values()], "o-", color=f"C{number}", label=f"seed {seed}")
    axes.set(xlabel="step", ylabel="mean reward", ylim=(0, 1), title="Arithmetic example")
    axes.grid(alpha=0.25)
    axes.legend(title="held-out (thin: training)")
    figure.savefig(path)


def report(curves: dict[int, dict[int, float]], minutes: float, conditions: str) -> str:
    """The page: held-out rewards by seed and step; `conditions` say when and on what."""
    steps = sorted(next(iter(curves.values())))
    rows = [
        f"| {seed} | " + " | ".join(f"{curve[step]:.3f}" for step in steps) + " |"
        for seed, curve in curves.items()
    ]
    first = np.array([curve[steps[0]] for curve in curves.values()])
    last = np.array([curve[steps[-1]] for curve in curves.values()])
    heading = "| seed | " + " | ".join(f"step {step}" for step in steps) + " |"
    return f"""# Results

## The arithmetic example

`make curves`: SmolLM2-135M-Instruct (its 4-bit GGUF file, dequantised), a ReAct agent, sums and
differences of two one-digit numbers, 8 tasks x 8 rollouts a step, 24 new tokens, AdamW at 2e-5. The
reward is 1 if the last number of the reply is the answer. Of the 200 different tasks of this kind
64 are held out and the other 136 are learnt from: no task is in both. Held out: one sample a task
at temperature 1, the same random numbers at every evaluation.

{heading}
|{" --- |" * (len(steps) + 1)}
{chr(10).join(rows)}

Held-out reward {first.mean():.3f} (sd {first.std(ddof=1):.3f}) before and {last.mean():.3f}
(sd {last.std(ddof=1):.3f}) after. The standard error of one figure from 64 samples is about 0.06.
The {len(curves)} runs took {minutes:.1f} minutes together, loading, evaluations and saving
included. The same example under every learning rule: [league.md](league.md).

![Reward by step](results.png)

{conditions}
"""


def conditions() -> str:
    """Today, this machine, and how busy it is."""
    busy = os.getloadavg()[0] > 1.2 * (os.cpu_count() or 1)
    beside = "other programs" if busy else "nothing"
    return (
        f"{datetime.date.today()}: {os.cpu_count()} cores, "
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}; {beside} ran beside it."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    seeds: list[int] = parser.parse_args().seeds
    make_dataset()
    with tempfile.TemporaryDirectory() as directory:
        outcomes = {seed: run_seed(seed, directory) for seed in seeds}
    runs = {seed: records for seed, (records, _) in outcomes.items()}
    draw(runs, ROOT / "docs" / "results.png")
    curves = {seed: held_out(records) for seed, records in runs.items()}
    minutes = sum(seconds for _, seconds in outcomes.values()) / 60
    text = report(curves, minutes, conditions())
    (ROOT / "docs" / "results.md").write_text(text)
    print(text)
