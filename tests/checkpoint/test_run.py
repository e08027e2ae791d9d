from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentscope_tuner.checkpoint.lock import RunLock, is_held
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.errors import InputError


def test_a_run_has_one_writer_and_the_second_is_told_which(tmp_path: Path) -> None:
    holder = "import sys, time; from pathlib import Path\n"
    holder += "from agentscope_tuner.checkpoint.lock import RunLock\n"
    holder += "with RunLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        with pytest.raises(InputError, match=f"process {process.pid};"), RunLock(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    assert not is_held(tmp_path)
    with RunLock(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


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


def test_a_foreign_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run_state.json").write_text('{"status": "done"}')
    with pytest.raises(InputError, match=r"run_state\.json is not the state of a run"):
        RunState.load(tmp_path)
