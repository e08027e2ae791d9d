"""What `astuner plan` says of three runs against what then happens: `make bench-plan`.

Plans and runs the project of `astuner init` in three shapes, and larger models of random
weights, each in a process of its own, and writes docs/plan.md. About ten minutes on two cores, and
another half an hour for the larger ones without AMX.

    python benchmarks/plan.py [--only larger]
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from larger import write_project
from machine import describe, lettered

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.commands.peak import PeakMemory
from agentscope_tuner.heap import share_heap
from agentscope_tuner.monitor.jsonl import read_metrics

PAGE = Path(__file__).parents[1] / "docs" / "plan.md"
KEPT = Path(__file__).with_name("plan.json")
STEPS = 4
LARGER_STEPS = 2
"""As many as are planned at least."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A run that is planned."""

    title: str
    settings: Sequence[str] = ()
    model: str | None = None
    """One of random weights; None: the project of `astuner init`."""

    @property
    def steps(self) -> int:
        """How many are planned and run."""
        return LARGER_STEPS if self.model else STEPS


SHAPES = {
    "full": Shape("full tuning, 8 tasks x 8, 24 tokens"),
    "adapters": Shape(
        "adapters of rank 16, 4 tasks x 8, 64 tokens",
        ["model.lora.rank=16", "model.max_response_tokens=64", "buffer.batch_size=4"],
    ),
    "ppo": Shape(
        "ppo with a critic, 16 tasks x 2, 24 tokens",
        ["algorithm.algorithm_type=ppo", "algorithm.repeat_times=2", "buffer.batch_size=16"],
    ),
    "half": Shape("full tuning of 0.5B, 4 tasks x 4, 128 tokens", model="0.5B"),
    "larger": Shape(
        "adapters of rank 16 on 1.7B, 4 tasks x 4, 128 tokens",
        ["model.lora.rank=16"],
        model="1.7B",
    ),
}
Figures = dict[str, float]
Message = dict[str, Any]
UNITS = {"memory": "GB", "step": "s", "run": "s", "disk": "GB"}


def main() -> None:
    """Plan and run each shape in a fresh project, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES))
    chosen: list[str] = parser.parse_args().only
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in chosen:
        shape = SHAPES[name]
        with tempfile.TemporaryDirectory() as place:
            project = Path(place, "project")
            if shape.model:
                write_project(project, shape.model)
            else:
                astuner("init", str(project), cwd=Path(place))
            for figures in planned_and_run(project, name, shape):
                kept[shape.title] = {"figures": figures, "conditions": conditions()}
                write(kept)


def planned_and_run(project: Path, name: str, shape: Shape) -> Iterator[list[Figures]]:
    """What is planned, and then both: a run that is killed for its memory leaves its plan."""
    given = [f"name={name}", *shape.settings, f"buffer.total_steps={shape.steps}"]
    told = astuner("plan", "main.py", "--json", *options(given), cwd=project)
    planned = of_plan(json.loads(told))
    print(name, planned, sep="\n  ", flush=True)
    yield [planned]
    child = [sys.executable, __file__, "--run", *given]
    happened = subprocess.run(child, cwd=project, check=True, stdout=subprocess.PIPE).stdout
    figures: Figures = json.loads(happened.splitlines()[-1])
    print(f"  {figures}", flush=True)
    yield [planned, figures]


def write(kept: dict[str, Message]) -> None:
    """Keep what was measured, and write the page of it."""
    KEPT.write_text(json.dumps(kept, indent=2) + "\n")
    PAGE.write_text(report(kept), encoding="utf-8")


def astuner(*arguments: str, cwd: Path) -> bytes:
    """What the command prints."""
    command = [sys.executable, "-m", "agentscope_tuner", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE).stdout


def options(settings: list[str]) -> list[str]:
    """As the command line has them."""
    return [part for setting in settings for part in ("--set", setting)]


def of_plan(planned: dict) -> Figures:
    """Its predictions, in `UNITS`."""
    return {
        "memory": planned["memory_bytes"] / 1e9,
        "step": planned["measured"]["step_s"],
        "run": planned["hours"] * 3600,
        "disk": planned["disk_bytes"] / 1e9,
    }


def run_here(settings: list[str]) -> Figures:
    """Run the project in this process, and measure the same."""
    share_heap()  # as `run` does, too late where the watch is a thread already
    with PeakMemory(torch.device("cpu")) as memory:
        began = time.perf_counter()
        invoke("run", Path("main.py"), [], settings)
        seconds = time.perf_counter() - began
    [run] = Path("checkpoints/tuning").glob(settings[0].removeprefix("name="))
    steps = [r["time/step"] for r in read_metrics(run / "metrics.jsonl") if "time/step" in r]
    kept = [*run.glob("global_step_*"), run / "rollouts"]
    size = sum(p.stat().st_size for place in kept for p in place.rglob("*") if p.is_file())
    return {
        "memory": memory.peak / 1e9,
        "step": sum(steps[1:]) / len(steps[1:]),
        "run": seconds,
        "disk": size / 1e9,
    }


def report(kept: dict[str, Message]) -> str:
    """The page."""
    letters = lettered(shape["conditions"] for shape in kept.values())
    rows, far = [], 0.0
    for title, measured in kept.items():
        planned, *happened = measured["figures"]
        for name, unit in UNITS.items():
            cells = ["did not end", ""]
            if happened:
                off = planned[name] / happened[0][name] - 1
                far = max(far, abs(off))
                cells = [f"{happened[0][name]:.2f} {unit}", f"{off:+.0%}"]
            rows.append(
                f"| {title} | {name} | {planned[name]:.2f} {unit} | {' | '.join(cells)} | "
                f"{letters[measured['conditions']]} |"
            )
    table = "\n".join(rows)
    told = "\n".join(f"- {letter}: {conditions}" for conditions, letter in letters.items())
    return f"""# What `astuner plan` said, and what then happened

`make bench-plan`: the project of `astuner init` (SmolLM2-135M-Instruct) in three shapes, planned
and then run for {STEPS} steps, each in a process of its own; and larger models of random
weights, with a reward by chance, for {LARGER_STEPS} steps. `memory` is the peak beyond what the
process held before; `step` is the second step of the plan, and the mean of all steps but the first
of the run; `run` is the whole, with loading, evaluations and the checkpoint; `disk` are checkpoints
and rollouts.

| run | what | planned | happened | off by | on |
| --- | --- | --- | --- | --- | --- |
{table}

The farthest off by {far:.0%}. `step` and `run` are planned for answers as long as in the second
step and as many groups that teach, of which one step has few: where the others have more or fewer,
training takes more or less. The other end that a plan gives, with every group teaching and every
answer as long as it may be, is not in the table. And seconds are those of a clock: on a machine
that other programs use they say as much about these as about the run.

{told}
"""


def conditions() -> str:
    """When, and on what."""
    return f"{datetime.date.today()}: {describe()}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(run_here(sys.argv[2:])))
    else:
        main()
