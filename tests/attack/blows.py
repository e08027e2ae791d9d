"""How a run is struck: which signals, and at which moment."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Set
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from attack.watch import Watch

WRITES = {
    "lock": r"write \.lock",
    "configuration": r"create \.config\.yaml\.tmp",
    "state of the run": r"create \.run_state\.json\.tmp",
    "line of metrics": r"write metrics\.jsonl",
    "events for TensorBoard": r"write monitor/.*tfevents",
    "rollouts": r"(create|write) rollouts/\.step_",
    "held-out rollouts": r"(create|write) rollouts/\.eval_",
    "index of rollouts": r"(create|write) rollouts/\.?index",
    "versions": r"(create|write) \.versions",
    "tokenizer": r"(create|write) \.tokenizer\.tmp/",
    "live state": r"(create|write) \.live\.json",
    "log": r"write run\.log",
    "checkpoint begins": r"create \.global_step_\d+\.tmp-\d+$",
    "weights": r"(create|write) \.global_step_\d+\.tmp-\d+/(adapter/)?\.tmp",
    "state of the learner": r"(create|write) \.global_step_\S+/learner\.pt",
    "state of the loop": r"(create|write) \.global_step_\S+/loop\.pt",
    "manifest": r"create \.global_step_\S+/\.manifest\.json\.tmp",
    "checkpoint in place": r"rename global_step_\d+$",
    "checkpoint retired": r"rename \.global_step_\d+\.retired",
    "curve": r"(create|write) reward_curve\.png",
}
"""Every kind of write, as an event of `Watch`."""

SIGNALS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT": (signal.SIGINT,),
    "SIGTERM, SIGINT": (signal.SIGTERM, signal.SIGINT),
    "SIGINT, SIGINT": (signal.SIGINT, signal.SIGINT),
}


@dataclass(frozen=True, slots=True)
class Blow:
    """One attack on a process: some signals, at a kind of write or at a time."""

    signals: str
    """A key of `SIGNALS`."""
    write: str | None
    """A key of `WRITES`; None: at a time."""
    count: int
    """At the how-manieth such write, from 1."""
    delay_s: float
    """After that write, or after the start."""
    pause_s: float
    """Between two signals."""

    @classmethod
    def draw(cls, rng: random.Random, seconds: float, never: Set[str]) -> Blow:
        """Any blow at a process that takes `seconds`, but at those writes."""
        write = rng.choice([*(set(WRITES) - never), *[None] * (len(WRITES) // 6)])
        # SIGKILL is what cannot be prepared for: half of all
        signals = rng.choice(["SIGKILL"] * (len(SIGNALS) - 1) + [*SIGNALS][1:])
        delay = rng.choice([0.0, rng.uniform(0, 0.01)]) if write else rng.uniform(0, seconds)
        return cls(signals, write, rng.choice([1, 1, 1, 2]), delay, rng.uniform(0, 0.3))

    def strike(self, process: BaseProcess, run: Path) -> bool:
        """Wait for the moment and send the signals; False if the process ended before."""
        if self.write is not None and not self._wait_for_write(process, run):
            return False
        process.join(self.delay_s)
        for number, sent in enumerate(SIGNALS[self.signals]):
            if number:
                process.join(self.pause_s)
            if not process.is_alive():
                return number > 0
            assert process.pid is not None
            os.kill(process.pid, sent)
        return True

    def _wait_for_write(self, process: BaseProcess, run: Path) -> bool:
        wanted = re.compile(WRITES[self.write or ""])
        seen = 0
        with Watch(run) as watch:
            while process.is_alive():
                for event in watch.events(0.05):
                    seen += bool(wanted.match(event))
                    if seen == self.count:
                        return True
        return False


def ended(process: BaseProcess, patience_s: float) -> int:
    """The exit code of a process that must end by itself."""
    began = time.monotonic()
    process.join(patience_s)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the process hangs: {time.monotonic() - began:.0f} s")
    return process.exitcode
