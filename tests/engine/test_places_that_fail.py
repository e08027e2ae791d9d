"""What becomes of a run whose directory cannot be written, is taken away, or is begun twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, WorkflowOutput, tune
from agentscope_tuner.checkpoint.lock import is_held
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.monitor.jsonl import read_metrics

RUN = Path("checkpoints/AgentScope/run")
SMALL_DISK_MB = 4
"""Less than a checkpoint."""

Act = Callable[[int], None]


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    disk = Path("checkpoints").resolve()
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs"]
    try:
        mounted = subprocess.run(["mount", *options, disk], capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # a run that hangs may be in it


def fill(disk: Path) -> None:
    with (disk / "full").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert shutil.disk_usage(disk).free == 0


@pytest.fixture
def run(tiny_model: Path, sums: Path) -> Callable[..., TuneResult]:
    """A run of two steps; `act` is called with the number of each rollout that begins, from 0."""

    def run(act: Act = lambda number: None, **options: Any) -> TuneResult:
        rollouts = 0

        async def workflow(task: dict[str, Any], model: Any) -> WorkflowOutput:
            nonlocal rollouts
            rollouts += 1
            act(rollouts - 1)
            response = await model([{"role": "user", "content": task["question"]}])
            text = response.content[0]["text"] if response.content else ""
            return WorkflowOutput(response=text, reward=len(set(text)) / 10)

        return tune(
            workflow_func=workflow,
            model=TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=4),
            train_dataset=DatasetConfig(path=str(sums), split="train", total_steps=2),
            eval_dataset=DatasetConfig(path=str(sums), split="test"),
            algorithm=AlgorithmConfig(
                algorithm_type="multi_step_grpo", group_size=2, batch_size=2, eval_interval_steps=5
            ),
            experiment_name="run",
            **options,
        )

    return run


EVALUATION, STEP = 4, 4
"""Rollouts of the baseline, and of a step."""


def status() -> str | None:
    state = RunState.load(RUN)
    return state and state.status


def assert_over(threads: set[threading.Thread]) -> None:
    """The run is told as failed, nobody holds it, and nothing of it goes on."""
    assert not is_held(RUN)
    # Threads that nobody waits for stay idle for a while.
    left = {t.name for t in set(threading.enumerate()) - threads if not t.daemon}
    assert not [name for name in left if not name.startswith(("asyncio", "ThreadPool"))], left


@pytest.mark.parametrize("when", [0, EVALUATION, EVALUATION + STEP])
def test_a_disk_that_gets_full_ends_the_run_in_one_sentence_and_it_can_be_resumed(
    run: Callable[..., TuneResult],
    small_disk: Path,
    when: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(RunError, match=r"^The disk is full: writing .* there is no checkpoint"):
        run(lambda number: fill(small_disk) if number == when else None)
    assert_over(threads)
    assert status() == "failed"
    with pytest.raises(RunError, match=r"^The disk is full: writing .* there is no checkpoint"):
        run(resume=True)
    assert_over(threads)
    assert status() == "failed"
    assert not caplog.records
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    assert run(resume=True).finished
    assert [record["step"] for record in read_metrics(RUN / "metrics.jsonl")] == [0, 1, 2, 2]


@pytest.mark.parametrize("when", [0, EVALUATION + STEP])
def test_a_run_directory_that_is_deleted_ends_the_run_in_one_sentence(
    run: Callable[..., TuneResult], when: int
) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(RunError, match=r"^The run directory .* was deleted while the run was"):
        run(lambda number: shutil.rmtree(RUN) if number == when else None)
    assert_over(threads)
    assert not RUN.exists()


def test_a_stop_before_the_first_step_keeps_the_baseline(run: Callable[..., TuneResult]) -> None:
    result = run(lambda number: os.kill(os.getpid(), signal.SIGINT) if number == 0 else None)
    assert not result.finished
    assert result.checkpoint == RUN.absolute() / "global_step_0"
    rollouts: list[int] = []
    assert run(rollouts.append, resume=True).finished
    assert [record["step"] for record in read_metrics(RUN / "metrics.jsonl")] == [0, 1, 2, 2]
    assert len(rollouts) == 2 * STEP + EVALUATION  # the baseline is not taken again


def test_of_two_starts_on_one_new_name_the_second_does_not_begin_the_first_ones_again(
    run: Callable[..., TuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is there between the second one's look at the directory and its lock."""
    from agentscope_tuner import tuning
    from agentscope_tuner.commands import training

    monkeypatch.setattr(tuning, "_alone", nullcontext)  # as if in a process of its own
    find_place = training.find_place

    def find_place_and_be_late(*arguments: Any) -> Any:
        monkeypatch.setattr(training, "find_place", find_place)
        place = find_place(*arguments)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return place

    monkeypatch.setattr(training, "find_place", find_place_and_be_late)
    with pytest.raises(InputError, match="is finished after 2 steps"):
        run()
    assert len(read_metrics(RUN / "metrics.jsonl")) == 4
