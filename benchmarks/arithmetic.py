"""Runs of the arithmetic example, with its own tasks or others: how they are played, and what they
say of the tasks that are held out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from entries import Entry
from machine import processor

from agentscope_tuner.monitor.jsonl import read_metrics

EXAMPLE = Path(__file__).parents[1] / "examples" / "arithmetic"
DATA = EXAMPLE / "data"
EVAL_INTERVAL = 4
HELD_OUT = "eval/test"
REWARD = f"{HELD_OUT}/reward/mean"
TASKSETS = ("taskset", "eval_tasksets.0")
Records = list[dict[str, float]]


def make_dataset() -> None:
    """Write the example's tasks."""
    subprocess.run([sys.executable, str(EXAMPLE / "make_dataset.py")], check=True)


def program(data: Path = DATA) -> str:
    """What the example with these tasks is made of, as a digest."""
    files = [EXAMPLE / "main.py", *sorted(data.glob("*.jsonl"))]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ExampleRun:
    """One run of it, below `root`."""

    root: Path
    name: str
    settings: Sequence[str]
    """Keys and values over the example's own."""

    @property
    def command(self) -> list[str]:
        """What starts it."""
        settings = [
            *self.settings,
            f"name={self.name}",
            f"explorer.eval_interval={EVAL_INTERVAL}",
            f"checkpoint_root_dir={self.root}",
        ]
        astuner = [sys.executable, "-m", "agentscope_tuner", "run", str(EXAMPLE / "main.py")]
        return [*astuner, *(part for setting in settings for part in ("--set", setting))]

    def metrics(self) -> Records:
        """What it has logged."""
        return read_metrics(self.root / "AgentScope" / self.name / "metrics.jsonl")


def held_out(records: Records) -> dict[int, float]:
    """Mean held-out reward by step."""
    return {int(record["step"]): record[REWARD] for record in records if REWARD in record}


def play(name: str, settings: Sequence[str], seed: int, threads: int, data: Path = DATA) -> Entry:
    """Run the example so, on `threads` cores; `name` is what the entry calls it."""
    tasks = [f"buffer.explorer_input.{which}.path={data}" for which in TASKSETS]
    with tempfile.TemporaryDirectory() as directory:
        run = ExampleRun(Path(directory), "run", [*settings, *tasks, f"seed={seed}"])
        cpu_seconds = cpu_time(run.command, {**os.environ, "OMP_NUM_THREADS": str(threads)})
        records = run.metrics()
    answered = f"{HELD_OUT}/rollout/count"
    return Entry(
        program(data),
        name,
        seed,
        curve=held_out(records),
        answers=int([r[answered] for r in records if answered in r][-1]),
        samples=int(sum(r["rollout/count"] for r in records if "time/step" in r)),
        cpu_seconds=cpu_seconds,
        machine=processor(),
    )


def cpu_time(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run it, and say how many seconds of the processor it took: its own, whatever runs beside."""
    process = subprocess.Popen(command, env=dict(environment))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime
