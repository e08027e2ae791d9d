"""Runs that are killed, stopped and gone on with, in processes of their own, with real signals."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from small_run import OUTPUT, STEPS, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.encoding import rollout_fields
from agentscope_tuner.runs.index import index_path, read_lines
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

KILLS = int(os.environ.get("KILLS", "3"))
"""How often the run that is killed at random moments is killed; `make storm` asks for more."""
EXACT = ("--set", "deterministic=true")
NAMED = (*EXACT, "--set", "name=run")
ADAPTERS = (
    *("--set", "model.lora.rank=4"),
    *("--set", "trainer.keep_last=1"),
    *("--set", "trainer.keep_best=eval/test/reward/mean"),
)
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Bench:
    """A directory in which runs are started, and what they need."""

    directory: Path
    model: Path
    data: Path

    @property
    def run(self) -> Path:
        return self.directory / "checkpoints" / "AgentScope" / "run"

    @property
    def output(self) -> str:
        return (self.directory / OUTPUT).read_text()

    def start(self, *options: str) -> BaseProcess:
        return start(self.directory, self.model, self.data, *options)

    def finish(self, *options: str) -> int | None:
        """Run to the end; returns the exit code."""
        return ended(self.start(*options))


def ended(process: BaseProcess) -> int | None:
    process.join(PATIENCE_S)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def wait_until(condition: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset directory."""
    directory = tmp_path_factory.mktemp("data")
    for split, numbers in {"train": range(12), "test": range(12, 16)}.items():
        lines = [json.dumps({"question": f"{n} + 1 ="}) for n in numbers]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return directory


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Path, data: Path) -> Bench:
    return Bench(tmp_path, tiny_model, data)


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nothing has happened to."""
    bench = Bench(tmp_path_factory.mktemp("uninterrupted"), tiny_model, data)
    assert bench.finish(*NAMED) == 0, bench.output
    return bench.run


@pytest.fixture
def uninterrupted_adapters(
    tiny_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same of a run that tunes adapters and keeps its best checkpoint."""
    bench = Bench(tmp_path_factory.mktemp("adapters"), tiny_model, data)
    assert bench.finish(*NAMED, *ADAPTERS) == 0, bench.output
    return bench.run


def metrics_of(run: Path) -> list[dict[str, float]]:
    """All metrics but what a clock says."""
    clocks = ("time/", "throughput/", "seconds")
    return [
        {key: value for key, value in record.items() if not any(c in key for c in clocks)}
        for record in read_metrics(run / "metrics.jsonl")
    ]


def index_of(run: Path) -> list[dict[str, object]]:
    """The index of a run's rollouts but what a clock says, and what depends on its digits."""
    clocks = ("began", "seconds", "judge_seconds", "offset", "length")
    return [
        {key: value for key, value in line.items() if key not in clocks}
        for line in read_lines(index_path(run))
    ]


def assert_same_run(run: Path, expected: Path) -> None:
    """The same metrics, weights and optimizer, bit by bit; nothing in the files twice."""
    assert metrics_of(run) == metrics_of(expected)
    last, last_expected = (path / f"global_step_{STEPS}" for path in (run, expected))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (last / name).read_bytes() == (last_expected / name).read_bytes(), name
    states = [load_state(path / "tuner_state" / "learner.pt") for path in (last, last_expected)]
    assert_equal(*states)
    assert sorted(path.name for path in (run / "rollouts").iterdir()) == sorted(
        path.name for path in (expected / "rollouts").iterdir()
    )
    for step in range(1, STEPS + 1):
        segments, wanted = (
            [
                rollout_fields(rollout)["trajectory"]["segments"]
                for rollout in read_rollouts(rollouts_path(path, step))
            ]
            for path in (run, expected)
        )
        assert segments == wanted, f"the rollouts of step {step}"
    assert index_of(run) == index_of(expected)
    board = EventAccumulator(str(run / "monitor" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("reward/mean")] == [*range(1, STEPS + 1)]
    assert [event.step for event in board.Scalars("eval/test/reward/mean")] == [0, 2, 4]
    assert not list(run.glob(".global_step_*"))


def assert_equal(state: object, expected: object, where: str = "state") -> None:
    if isinstance(expected, torch.Tensor):
        assert isinstance(state, torch.Tensor)
        assert torch.equal(state, expected), where
    elif isinstance(expected, dict):
        assert isinstance(state, dict)
        assert state.keys() == expected.keys(), where
        for key in expected:
            assert_equal(state[key], expected[key], f"{where}[{key!r}]")
    else:
        assert state == expected, where


def storm(bench: Bench, expected: Path, kill: Callable[[BaseProcess], None], *options: str) -> None:
    """Start the run, which goes on if it is there, and kill it, `KILLS` times; then let it end.

    Whenever it has ended, in spite of it or at last, it must equal `expected`; then it starts anew.
    """
    resumed = ends = kills = 0
    for attempt in range(KILLS + 1):
        resumed += bool(list(bench.run.glob("global_step_*")))
        process = bench.start(*NAMED, *options)
        if attempt < KILLS:
            kill(process)
        kills += ended(process) == -signal.SIGKILL
        state = RunState.load(bench.run) if bench.run.exists() else None
        if state is not None and state.status == "finished":
            assert_same_run(bench.run, expected)
            bench.run.rename(bench.run.with_name(f"ended-{ends}"))
            ends += 1
    assert ends, bench.output
    print(f"\n{kills} kills, {resumed} starts from a checkpoint, {ends} runs ended, all alike")


def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_happened(
    bench: Bench, uninterrupted: Path
) -> None:
    moments = random.Random(KILLS)
    began = time.monotonic()
    assert bench.finish(*EXACT, "--set", "name=timing") == 0, bench.output
    seconds = time.monotonic() - began

    def kill(process: BaseProcess) -> None:
        process.join(moments.uniform(0.0, seconds))
        process.kill()

    storm(bench, uninterrupted, kill)


def test_killed_at_random_moments_adapters_and_the_best_checkpoint_end_the_same(
    bench: Bench, uninterrupted_adapters: Path
) -> None:
    moments = random.Random(KILLS)

    def kill(process: BaseProcess) -> None:
        wait_until(lambda: bool(list(bench.run.glob("global_step_*"))), process)
        process.join(moments.uniform(0.0, 2.0))
        process.kill()

    storm(bench, uninterrupted_adapters, kill, *ADAPTERS)
    kept, expected = (
        sorted(path.name for path in run.glob("global_step_*"))
        for run in (bench.run.with_name("ended-0"), uninterrupted_adapters)
    )
    assert kept == expected


def test_killed_while_a_checkpoint_is_written_a_run_ends_as_if_nothing_had_happened(
    bench: Bench, uninterrupted: Path
) -> None:
    moments = random.Random(KILLS)

    def kill(process: BaseProcess) -> None:
        wait_until(lambda: bool(list(bench.run.glob(f".global_step_*.tmp-{process.pid}"))), process)
        process.join(moments.uniform(0.0, 0.2))
        process.kill()

    storm(bench, uninterrupted, kill)


def test_a_signal_ends_the_run_after_its_step_with_everything_saved(
    bench: Bench, uninterrupted: Path
) -> None:
    process = bench.start(*EXACT)
    wait_until(lambda: bool(list(bench.directory.rglob("step_1.jsonl.zst"))), process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == 130, bench.output
    (run,) = bench.run.parent.iterdir()
    done = int(read_metrics(run / "metrics.jsonl")[-1]["step"])
    assert 1 <= done < STEPS
    assert (run / f"global_step_{done}").is_dir()
    assert f"stopped after step {done} of {STEPS}" in bench.output
    assert bench.finish(*EXACT, "--resume") == 0, bench.output  # the newest one, without a name
    assert_same_run(run, uninterrupted)


def test_a_second_signal_ends_the_run_at_once(bench: Bench, uninterrupted: Path) -> None:
    process = bench.start(*NAMED)
    wait_until(lambda: (bench.run / "global_step_1").exists(), process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == 130, bench.output
    assert bench.finish(*NAMED) == 0, bench.output
    assert_same_run(bench.run, uninterrupted)


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
