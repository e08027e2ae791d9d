"""Runs of the arithmetic example: how they are started, and what they say of its held-out tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentscope_tuner.monitor.jsonl import read_metrics

EXAMPLE = Path(__file__).parents[1] / "examples" / "arithmetic"
EVAL_INTERVAL = 4
HELD_OUT = "eval/test"
REWARD = f"{HELD_OUT}/reward/mean"
Records = list[dict[str, float]]


def make_dataset() -> None:
    """Write the example's tasks."""
    subprocess.run([sys.executable, str(EXAMPLE / "make_dataset.py")], check=True)


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
