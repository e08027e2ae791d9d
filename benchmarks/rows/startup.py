"""What passes before anything happens: until a run's first rollout, and until there is help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arithmetic import ExampleRun, make_dataset
from race import Comparison, Pair, Unavailable
from results import Outcome, Row

REPEATS = 5


def measure(quick: bool) -> Outcome:
    """Seconds of fresh processes, the files in the system's cache."""
    repeats = 1 if quick else REPEATS
    make_dataset()
    rows = []
    for name, budget, measured in (
        ("start of the demo until its first rollout begins", 6.0, first_rollout),
        ("`astuner --help`", 0.4, help_shown),
    ):
        measured()  # warms the system's cache of files
        rows.append(row(name, budget, [measured() for _ in range(repeats)]))
    return Outcome(rows)


def row(name: str, budget: float, seconds: list[float]) -> Row:
    """Against what it may take."""
    pairs = [Pair({"seconds": value}, {"seconds": budget}) for value in seconds]
    comparison = Comparison.of(pairs, lambda answer: float(answer["seconds"]))
    return Row.of(name, "s", comparison, against="budget", target=1.0, lower_is_better=True)


def first_rollout() -> float:
    """Seconds until the run says that some run: those of the evaluation before the first step."""
    with tempfile.TemporaryDirectory() as directory:
        run = ExampleRun(Path(directory), "run", [])
        live = Path(directory) / "AgentScope" / "run" / "live.json"
        began = time.perf_counter()
        process = subprocess.Popen(run.command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            while not running(live):
                if process.poll() is not None:
                    raise Unavailable(f"the demo ended with {process.returncode}")
                time.sleep(0.02)
            return time.perf_counter() - began
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def running(live: Path) -> bool:
    """Whether some rollout runs."""
    return live.exists() and bool(json.loads(live.read_text()).get("running"))


def help_shown() -> float:
    """Seconds until it ended."""
    began = time.perf_counter()
    astuner = str(Path(sys.executable).with_name("astuner"))
    subprocess.run([astuner, "--help"], check=True, capture_output=True)
    return time.perf_counter() - began
