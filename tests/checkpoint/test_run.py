from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agentscope_tuner.checkpoint.lock import RunLock, is_held
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.errors import InputError, RunError


def test_a_run_has_one_writer_and_the_second_is_told_which(tmp_path: Path) -> None:
    holder = "import sys, time; from pathlib import Path\n"
    holder += "from agentscope_tuner.checkpoint.lock import RunLock\n"
    holder += "with RunLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        told = rf"by process {process.pid} on .* since 20\d\d-.*; wait for it"
        with pytest.raises(InputError, match=told), RunLock(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    assert not is_held(tmp_path)
    with RunLock(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


FORKING = """
import os, subprocess, sys, time
from multiprocessing import get_context
from pathlib import Path
from agentscope_tuner.checkpoint.lock import RunLock

with RunLock(Path(sys.argv[1])):
    children = [subprocess.Popen(["sleep", "60"]).pid]
    worker = get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    children.append(worker.pid)
    if not (child := os.fork()):
        time.sleep(60)
    print(*children, child, flush=True)
    time.sleep(60)
"""


def test_the_children_of_a_killed_writer_do_not_hold_its_run(tmp_path: Path) -> None:
    script = tmp_path / "writer.py"
    script.write_text(FORKING)
    run = tmp_path / "run"
    command = [sys.executable, str(script), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert len(children) == 3
        assert is_held(run)
        process.kill()
        process.wait()
        try:
            assert all(psutil.pid_exists(child) for child in children)
            assert not is_held(run)
            with RunLock(run):
                assert is_held(run)
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_a_child_that_ends_leaves_the_run_to_its_parent(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        child = os.fork()
        if child == 0:
            lock.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert is_held(tmp_path)
        with pytest.raises(InputError, match=f"by process {os.getpid()} on"), RunLock(tmp_path):
            pass


def test_a_lock_that_outlives_its_writer_is_told_from_a_living_one(tmp_path: Path) -> None:
    """A fork that Python is not told of (a library's) cannot be kept from holding it."""
    with RunLock(tmp_path):
        said = json.loads((tmp_path / ".lock").read_bytes())
        dead = {**said, "started": said["started"] - 100}  # the number was given to us again
        (tmp_path / ".lock").write_text(json.dumps(dead))
        assert not is_held(tmp_path)
        with pytest.raises(InputError, match="which is dead, but one that"), RunLock(tmp_path):
            pass
        (tmp_path / ".lock").write_text("")
        with pytest.raises(InputError, match="by another process"), RunLock(tmp_path):
            pass


def test_a_lock_says_when_its_directory_is_gone_or_another(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunLock(run) as lock:
        lock.refuse_lost()
        run.rename(tmp_path / "elsewhere")
        with pytest.raises(RunError, match="was deleted while the run was going on"):
            lock.refuse_lost()
        with RunLock(run), pytest.raises(RunError, match="was deleted"):
            lock.refuse_lost()


def test_a_run_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"run cannot be written: Not a directory"),
        RunLock(tmp_path / "file" / "run"),
    ):
        pass


def test_looking_at_a_directory_without_a_run_leaves_it_alone(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert RunState.load(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_a_run_is_read_back(tmp_path: Path) -> None:
    state = RunState("interrupted", step=3, total_steps=16)
    RunState("running", step=2, total_steps=16).save(tmp_path)
    state.save(tmp_path)
    assert RunState.load(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == ["run_state.json"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"status": "done"}', "\0" * 60),
        '{"status": "done", "step": 1, "total_steps": 2}',
        '{"status": "finished", "step": "1", "total_steps": 2}',
    ],
)
def test_a_foreign_or_damaged_state_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run_state.json").write_text(content)
    with pytest.raises(InputError, match=r"run_state\.json is not the state of a run"):
        RunState.load(tmp_path)
