"""`astuner sweep`: real runs, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.runs.listing import find_run

RUNS = Path("checkpoints/P")
SWEEP = ("sweep", "main.py", "--set", "algorithm.optimizer.lr=0.1,0.001")
ONE_STEP = ("--set", "buffer.total_steps=1")


def test_each_combination_is_run_once_however_often_the_sweep_is_begun(
    astuner: Astuner, program: Path
) -> None:
    first = ("--set", "name=sweep-lr=0.1", "--set", "algorithm.optimizer.lr=0.1")
    assert astuner("run", "main.py", *ONE_STEP, *first).code == 0
    ended = astuner(*SWEEP, *ONE_STEP, "--json")
    assert ended.code == 0, ended.err
    assert "run 1 of 2, sweep-lr=0.1: finished already" in ended.err
    found = json.loads(ended.out)
    assert [one["settings"]["algorithm.optimizer.lr"] for one in found] == ["0.1", "0.001"]
    assert [(one["status"], one["step"]) for one in found] == [("finished", 1)] * 2
    assert found[1]["best"].keys() == {"test"}

    again = astuner(*SWEEP, *ONE_STEP)
    assert again.code == 0
    assert again.err.count("finished already") == 2
    assert "│ 0.001 │ finished │" in again.out
    assert "astuner compare checkpoints/P/sweep-lr=0.1 checkpoints/P/sweep-lr=0.001" in again.out


def test_a_run_that_fails_does_not_end_the_sweep(astuner: Astuner, program: Path) -> None:
    program.write_text(program.read_text().replace("question", "no such key"))
    ended = astuner(*SWEEP, *ONE_STEP)
    assert ended.code == 1
    assert "2 of 2 runs failed: sweep-lr=0.1, sweep-lr=0.001." in " ".join(ended.err.split())
    assert ended.out.count("failed") == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("seed=1",), "several values"),
        (("algorithm.optimizer.lr=0.1,fast",), "algorithm.optimizer.lr"),
        (("algorithm.optimizer.speed=1,2",), "algorithm.optimizer.speed"),
    ],
)
def test_what_is_wrong_with_any_combination_is_said_before_the_first_run(
    astuner: Astuner, program: Path, settings: tuple[str, ...], says: str
) -> None:
    ended = astuner("sweep", "main.py", *(part for s in settings for part in ("--set", s)))
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
    assert not RUNS.exists()


def test_a_script_without_a_tune_has_nothing_to_sweep(astuner: Astuner, tmp_path: Path) -> None:
    script = tmp_path / "nothing.py"
    script.write_text("print('hello')\n")
    ended = astuner("sweep", script, "--set", "seed=0,1")
    assert ended.code == 2
    assert "without a call of tune()" in " ".join(ended.err.split())


def test_ctrl_c_ends_the_run_after_its_step_and_the_sweep(program: Path) -> None:
    command = [sys.executable, "-m", "agentscope_tuner", *SWEEP, "--set", "buffer.total_steps=99"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = RUNS / "sweep-lr=0.1" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 1):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command goes on with the sweep" in err
    assert [run.name for run in RUNS.iterdir()] == ["sweep-lr=0.1"]
    assert find_run(RUNS).status == "interrupted"
