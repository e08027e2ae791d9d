"""Runs that are killed, stopped and gone on with, in processes of their own, with real signals.

`make attack PART=kills` does the same to more shapes of run, more often, and at every moment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from agentscope_tuner.monitor.jsonl import read_metrics
from attack.blows import Blow, ended
from attack.kills import Ground, attack, leave_alone, run_of
from attack.program import OUTPUT, PROGRAM, STEPS, start, write_data
from attack.sameness import differences
from attack.variants import VARIANTS

EXACT = ("--set", "deterministic=true")
NAMED = (*EXACT, "--set", "name=run")
PATIENCE_S = 120.0
SHAPES = {variant.name: variant for variant in VARIANTS}


@dataclass(frozen=True)
class Bench:
    """A directory in which runs are started, and what they need."""

    directory: Path
    model: Path
    data: Path

    @property
    def run(self) -> Path:
        return run_of(self.directory)

    @property
    def output(self) -> str:
        """In one line, wherever the terminal's width would have broken it."""
        return " ".join((self.directory / OUTPUT).read_text().split())

    def start(self, *options: str) -> BaseProcess:
        return start(self.directory, "run", PROGRAM, str(self.model), str(self.data), *options)

    def finish(self, *options: str) -> int | None:
        """Run to the end; returns the exit code."""
        return ended(self.start(*options), PATIENCE_S)


def wait_until(condition: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset directory."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Path, data: Path) -> Bench:
    return Bench(tmp_path, tiny_model, data)


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nothing has happened to."""
    ground = Ground(VARIANTS[0], tmp_path_factory.mktemp("uninterrupted"), tiny_model, data)
    return leave_alone(ground)[0]


@pytest.mark.parametrize(
    ("shape", "writes"),
    [
        (
            "full tuning",
            *[("state of the run", "checkpoint in place", "weights", "rollouts")],
        ),
        (
            "LoRA, the last and the best kept",
            *[("held-out rollouts", "checkpoint in place", "manifest", "checkpoint retired")],
        ),
        (
            "weights every second step, a batch ahead, replay, groups replaced",
            *[("checkpoint in place", "state of the loop", "rollouts")],
        ),
    ],
)
def test_killed_while_it_writes_a_run_ends_as_if_nothing_had_happened(
    shape: str, writes: tuple[str, ...], tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    ground = Ground(SHAPES[shape], tmp_path, tiny_model, data)
    alone, _ = leave_alone(ground)
    blows = [Blow("SIGKILL", write, count=1, delay_s=0.0, pause_s=0.0) for write in writes]
    tally = attack(ground, "killed", blows, alone)
    assert tally.writes == dict.fromkeys(writes, 1)
    assert tally.exits == {("SIGKILL", -signal.SIGKILL): len(writes)}
    assert tally.resumed >= 2


def test_a_signal_ends_the_run_after_its_step_with_everything_saved(
    bench: Bench, uninterrupted: Path
) -> None:
    process = bench.start(*EXACT)
    # Not `rglob`, which looks into directories that the run renames at the same time.
    first_step = "*/rollouts/step_1.jsonl.zst"
    wait_until(lambda: any(bench.run.parent.glob(first_step)), process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert ended(process, PATIENCE_S) == 130, bench.output
    (run,) = bench.run.parent.iterdir()
    done = int(read_metrics(run / "metrics.jsonl")[-1]["step"])
    assert 1 <= done < STEPS
    assert (run / f"global_step_{done}").is_dir()
    assert f"stopped after step {done} of {STEPS}" in bench.output
    assert bench.finish(*EXACT, "--resume") == 0, bench.output  # the newest one, without a name
    assert differences(run, uninterrupted) == {}


def test_a_second_signal_ends_the_run_at_once(bench: Bench, uninterrupted: Path) -> None:
    process = bench.start(*NAMED)
    wait_until(lambda: (bench.run / "global_step_1").exists(), process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process, PATIENCE_S) in (130, 143), bench.output  # whichever is handled last
    assert bench.finish(*NAMED) == 0, bench.output
    assert differences(bench.run, uninterrupted) == {}


def test_what_differs_between_two_runs_is_found(
    bench: Bench, uninterrupted: Path, tmp_path: Path
) -> None:
    assert bench.finish(*NAMED, "--set", "seed=1") == 0, bench.output
    differ = differences(bench.run, uninterrupted)
    last = f"global_step_{STEPS}"
    expected = {
        *("metrics.jsonl", "monitor", "rollouts/index.jsonl", "rollouts/step_1.jsonl.zst"),
        *(f"{last}/model.safetensors", f"{last}/tuner_state/learner.pt"),
    }
    assert expected <= differ.keys()


def test_runs_are_not_mixed_and_a_finished_one_goes_on_with_more_steps(bench: Bench) -> None:
    short = ("--set", "name=run", "--set", "buffer.total_steps=1")
    assert bench.finish(*short, "--resume") == 2
    assert "no run to resume" in bench.output
    assert bench.finish(*short) == 0, bench.output
    assert bench.finish(*short) == 2
    assert "finished after 1 steps" in bench.output
    longer = ("--set", "name=run", "--set", "buffer.total_steps=2")
    assert bench.finish(*longer, "--set", "algorithm.repeat_times=2") == 2
    assert "different: algorithm.repeat_times" in bench.output
    assert bench.finish(*longer, "--set", "algorithm.optimizer.lr_scheduler_type=cosine") == 2
    assert bench.finish(*longer) == 0, bench.output
    steps = [record["step"] for record in read_metrics(bench.run / "metrics.jsonl")]
    assert steps == [0, 1, 1, 2, 2]
