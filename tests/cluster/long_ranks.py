"""Runs whose learner is on two ranks: killed and gone on with, and held against one process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from runs_on import Tune

from agentscope_tuner.monitor.jsonl import read_metrics
from attack.program import OUTPUT, PROGRAM, start, write_data
from attack.sameness import differences

RUN_S = 240
RANKS = "trainer.ranks=2"
LORA = "model.lora.rank=4"
PPO = "algorithm.algorithm_type=ppo"
PRECISE = "explorer.rollout_model.dtype=float32"

Start = Callable[..., BaseProcess]


@pytest.fixture
def start_run(tiny_model: Path, tmp_path: Path) -> Start:
    """Starts a deterministic run under a name, with further settings."""
    data = write_data(tmp_path / "data")

    def start_as(name: str, *options: str) -> BaseProcess:
        given = ["--set", f"name={name}", "--set", "deterministic=true"]
        return start(tmp_path, "run", PROGRAM, *given, *options, str(tiny_model), str(data))

    return start_as


def finished(run: BaseProcess, directory: Path) -> str:
    """What a run said that has come to its end."""
    run.join(RUN_S)
    said = (directory / OUTPUT).read_text()
    assert run.exitcode == 0, said
    return said


def ranks_of(run: BaseProcess) -> list[psutil.Process]:
    """The processes of its learner, in the order of their ranks."""
    children = psutil.Process(run.pid).children()
    found = [child for child in children if any("sharded.rank" in p for p in child.cmdline())]
    return sorted(found, key=lambda child: child.create_time())


def await_checkpoint(directory: Path, step: int) -> None:
    """Wait until a run has saved this step."""
    deadline = time.monotonic() + RUN_S
    while not (directory / f"global_step_{step}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("settings", [[], [LORA, PPO]], ids=["grpo", "ppo with adapters"])
def test_a_killed_run_goes_on_to_the_same_bits(
    settings: list[str], start_run: Start, tmp_path: Path
) -> None:
    runs = tmp_path / "checkpoints" / "AgentScope"
    on_ranks = [part for setting in (RANKS, *settings) for part in ("--set", setting)]
    finished(start_run("whole", *on_ranks), tmp_path)
    for step in (1, 3):
        name = f"killed-{step}"
        run = start_run(name, *on_ranks)
        await_checkpoint(runs / name, step)
        ranks = ranks_of(run)
        run.kill()
        run.join()
        assert psutil.wait_procs(ranks, timeout=5)[1] == []
        finished(start_run(name, *on_ranks, "--resume"), tmp_path)
        assert differences(runs / name, runs / "whole") == {}


def test_a_rank_that_says_nothing_ends_the_run_within_a_minute(
    start_run: Start, tmp_path: Path
) -> None:
    run = start_run("silent", "--set", RANKS)
    await_checkpoint(tmp_path / "checkpoints" / "AgentScope" / "silent", 1)
    ranks = ranks_of(run)
    ranks[0].suspend()
    struck = time.monotonic()
    run.join(RUN_S)
    assert time.monotonic() - struck < 75
    said = " ".join((tmp_path / OUTPUT).read_text().split())
    assert run.exitcode == 1, said
    assert "learner rank 0 on node" in said
    assert "has given no sign of life for 60 s" in said
    assert not any(rank.is_running() for rank in ranks)


def test_a_rank_that_dies_ends_the_run_which_goes_on_on_another_number_of_ranks(
    start_run: Start, tmp_path: Path
) -> None:
    runs = tmp_path / "checkpoints" / "AgentScope"
    run = start_run("struck", "--set", RANKS)
    await_checkpoint(runs / "struck", 1)
    ranks = ranks_of(run)
    os.kill(ranks[1].pid, signal.SIGKILL)
    struck = time.monotonic()
    run.join(RUN_S)
    assert time.monotonic() - struck < 60
    said = " ".join((tmp_path / OUTPUT).read_text().split())
    assert run.exitcode == 1, said
    assert "The run cannot go on: learner rank 1 on node" in said
    assert "was ended by SIGKILL" in said
    assert not any(rank.is_running() for rank in ranks)
    finished(start_run("struck", "--set", "trainer.ranks=1", "--resume"), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [[], [LORA], [PPO], ["algorithm.advantage_fn=clipv"]],
    ids=["grpo", "adapters", "ppo", "clipv"],
)
def test_without_ranks_the_loss_and_the_norm_are_the_same(
    settings: list[str], tune_program: Tune
) -> None:
    spread, alone = (
        read_metrics(tune_program(name, PRECISE, *settings, *ranks) / "metrics.jsonl")
        for name, ranks in (("spread", [RANKS]), ("alone", []))
    )
    for key in ("policy/loss", "policy/grad_norm"):
        told, expected = ([m[key] for m in metrics if key in m] for metrics in (spread, alone))
        assert told == pytest.approx(expected, rel=1e-6, abs=1e-6)
