"""Where a run is written, and what is refused so that nothing which is there is lost."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner.checkpoint.run_state import RunState, RunStatus
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.run_directory import find_place, last_checkpoint, write_configuration
from agentscope_tuner.errors import InputError


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config_of(**overrides: Any) -> Config:
    dataset = {"buffer.explorer_input.taskset.path": "somewhere"}
    return resolve(overrides={"model.model_path": "tiny", "name": "run", **dataset, **overrides})


def begun(directory: Path, status: RunStatus | None = "running", checkpoints: int = 2) -> Path:
    """What a run leaves that has saved after each of its steps."""
    directory.mkdir(parents=True)
    config = config_of(project=directory.parent.name, name=directory.name)
    write_configuration(config, directory)
    if status is not None:
        RunState(status, checkpoints, 4).save(directory)
    lines = [json.dumps({"step": step, "reward/mean": 0.5}) for step in range(1, 3)]
    (directory / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (directory / "rollouts").mkdir()
    (directory / "rollouts" / "step_1.jsonl.zst").write_bytes(b"rollouts")
    for step in range(1, checkpoints + 1):
        CheckpointStore(directory).save(step, lambda path: path.joinpath("w").touch())
    return directory


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


RUN = Path("checkpoints/AgentScope/run")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("state", [None, b"", b'{"status": 1}'])
def test_a_run_without_a_readable_state_is_not_begun_again_over_what_it_has(
    resume: bool, state: bytes | None
) -> None:
    begun(RUN, None)
    if state is not None:
        (RUN / "run_state.json").write_bytes(state)
    before = contents(RUN)
    lost = (
        r"2 checkpoints \(the last is global_step_2\) and 2 lines of metrics.jsonl and 1 files of"
    )
    with pytest.raises(InputError, match=lost) as refused:
        find_place(config_of(), resume)
    assert contents(RUN) == before
    # What it says is true: with this state the run goes on.
    (said,) = re.findall(r"run_state.json may say ({.*?})", str(refused.value))
    (RUN / "run_state.json").write_text(said)
    place = find_place(config_of(), resume)
    assert last_checkpoint(place, CheckpointStore(RUN)) == RUN / "global_step_2"


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again(status: RunStatus) -> None:
    begun(RUN, status)
    for step in (1, 2):
        (RUN / f"global_step_{step}" / "w").unlink()
    place = find_place(config_of(), resume=True)
    with pytest.raises(InputError, match=r"no checkpoint that is whole.* 2 lines of metrics"):
        last_checkpoint(place, CheckpointStore(RUN))


def test_a_run_that_must_have_had_a_checkpoint_is_not_begun_again() -> None:
    begun(RUN, "interrupted")
    for step in (1, 2):
        shutil.rmtree(RUN / f"global_step_{step}")
    place = find_place(config_of(), resume=True)
    with pytest.raises(InputError, match="has lost its checkpoints"):
        last_checkpoint(place, CheckpointStore(RUN))


@pytest.mark.parametrize("status", ["running", "failed", None])
def test_a_run_that_died_before_its_first_checkpoint_begins_again(status: RunStatus | None) -> None:
    begun(RUN, status, checkpoints=0)
    if status is None:  # killed while it was loading
        (RUN / "metrics.jsonl").write_text("")
        shutil.rmtree(RUN / "rollouts")
    place = find_place(config_of(), resume=True)
    assert last_checkpoint(place, CheckpointStore(RUN)) is None


def test_one_damaged_checkpoint_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    begun(RUN)
    (RUN / "global_step_2" / "w").unlink()
    place = find_place(config_of(), resume=True)
    assert last_checkpoint(place, CheckpointStore(RUN)) == RUN / "global_step_1"
    assert "global_step_2 is damaged and is not used: w is missing" in caplog.text


def test_another_run_with_a_damaged_state_is_named_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun(RUN)
    other = begun(RUN.with_name("other"))
    (other / "run_state.json").write_text("{")
    (RUN.parent / "notes.txt").write_text("stray")
    config = config_of(name=None)
    assert find_place(config, resume=True).directory == RUN.absolute()
    assert "other/run_state.json is not the state of a run" in caplog.text


@pytest.mark.parametrize("key", ["name", "project"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("../../x", "is not the name of a folder"),
        ("..", "is not the name of a folder"),
        (".", "is not the name of a folder"),
        ("/tmp/x", "is not the name of a folder"),
        ("a/b", "is not the name of a folder"),
        ("a\\b", "is not the name of a folder"),
        ("a\nb", "is not the name of a folder"),
        ("a\0", "is not the name of a folder"),
        ("x" * 300, "a name of 300 characters is too long"),
        ("\N{GRINNING FACE}" * 60, "a name of 60 characters is too long"),
    ],
)
def test_a_name_stays_in_its_place(key: str, value: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"^{key} .*{problem}"):
        config_of(**{key: value})


@pytest.mark.parametrize("value", ["run", "first run", "läuft-2", "v1.0", "x" * 200])
def test_names_that_are_folders_are_taken(value: str) -> None:
    assert config_of(name=value).name == value
