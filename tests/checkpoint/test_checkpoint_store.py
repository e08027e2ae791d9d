from __future__ import annotations

import errno
import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from agentscope_tuner.checkpoint.state import save_state
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.errors import InputError, RunError


def write_model(content: bytes = b"weights") -> object:
    def write(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(content)
        (directory / "tuner_state").mkdir()
        (directory / "tuner_state" / "optimizer.pt").write_bytes(b"moments")

    return write


def rewrite(checkpoint: Path, **entries: object) -> None:
    manifest = checkpoint / "tuner_state" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes()) | entries))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_saved_checkpoint_is_found_and_whole(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    assert store.latest() is None
    path = store.save(4, write_model())
    assert path == tmp_path / "global_step_4"
    assert store.verify(path) == []
    assert store.latest() == path
    assert names(tmp_path) == ["global_step_4"]


def test_the_latest_is_the_highest_step_not_the_last_name(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for step in (9, 10):
        store.save(step, write_model())
    assert store.latest() == tmp_path / "global_step_10"


def test_a_flipped_bit_is_named_and_the_checkpoint_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path)
    before = store.save(1, write_model())
    damaged = store.save(2, write_model())
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[3] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)

    with caplog.at_level(logging.WARNING):
        assert store.latest() == before
    assert "global_step_2 is damaged" in caplog.text
    assert "model.safetensors is not what was written" in caplog.text


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda path: (path / "model.safetensors").write_bytes(b"w"), "1 bytes instead of 7"),
        (lambda path: (path / "tuner_state/manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "tuner_state/manifest.json").write_text("{"), "cannot be read"),
        (lambda path: (path / "tuner_state/manifest.json").write_text("[]"), "cannot be read"),
        (lambda path: rewrite(path, files={}), "it lists no files"),
        (lambda path: rewrite(path, files=None), "cannot be read"),
        (lambda path: rewrite(path, metrics=None), "cannot be read"),
        (lambda path: rewrite(path, metrics={"a": "b"}), "cannot be read"),
        (lambda path: rewrite(path, files={"\0": {"size": 1, "sha256": ""}}), "is missing"),
        (lambda path: rewrite(path, files={"x" * 300: {"size": 1, "sha256": ""}}), "cannot be"),
    ],
)
def test_every_kind_of_damage_is_named(tmp_path: Path, damage: object, problem: str) -> None:
    store = CheckpointStore(tmp_path)
    path = store.save(1, write_model())
    damage(path)  # type: ignore[operator]
    (found,) = store.verify(path)
    assert problem in found


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, write_model(b"old"))
    path = store.save(1, write_model(b"new"))
    assert (path / "model.safetensors").read_bytes() == b"new"
    assert store.verify(path) == []
    assert names(tmp_path) == ["global_step_1"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, write_model())

    def fail(directory: Path) -> None:
        (directory / "half").write_bytes(b"half")
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        store.save(2, fail)
    assert names(tmp_path) == ["global_step_1"]


def test_recovery_clears_the_leftovers_of_a_killed_writer(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, write_model())
    (tmp_path / ".global_step_2.tmp-77").mkdir()
    (tmp_path / ".global_step_1.old-77").mkdir()
    (tmp_path / ".global_step_0.retired-77").mkdir()
    (tmp_path / "rollouts").mkdir()
    (tmp_path / ".run_state.json.tmp-77").touch()
    store.recover()
    assert names(tmp_path) == ["global_step_1", "rollouts"]


def test_recovery_finishes_a_replacement_that_was_cut_between_its_renames(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, write_model(b"old")).rename(tmp_path / ".global_step_1.old-77")
    (tmp_path / ".global_step_1.tmp-77").mkdir()
    store.recover()
    assert names(tmp_path) == ["global_step_1"]
    assert store.latest() == tmp_path / "global_step_1"


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=2)
    for step in range(1, 6):
        store.save(step, write_model())
    assert names(tmp_path) == ["global_step_4", "global_step_5"]


def test_the_best_is_kept_besides_the_newest(tmp_path: Path) -> None:
    key = "eval/test/reward/mean"
    store = CheckpointStore(tmp_path, keep_last=1, keep_best=key)
    for step, score in enumerate([0.2, 0.7, 0.7, 0.5, None], 1):
        store.save(step, write_model(), None if score is None else {key: score})
    assert names(tmp_path) == ["global_step_3", "global_step_5"]


def test_a_best_metric_that_no_run_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=1, keep_best="eval/tset/reward/mean")
    with pytest.raises(RunError, match="did you mean eval/test/reward/mean"):
        store.refuse_unknown_best({"eval/test/reward/mean", "reward/mean", "time/step"})
    store.refuse_unknown_best({"eval/tset/reward/mean"})
    CheckpointStore(tmp_path).refuse_unknown_best(set())


def test_a_damaged_later_checkpoint_never_crowds_out_a_good_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=1)
    store.save(5, write_model())
    store.save(10, write_model())
    (tmp_path / "global_step_10" / "model.safetensors").unlink()
    store.save(6, write_model())
    assert store.latest() == tmp_path / "global_step_6"


def test_stray_files_and_names_are_no_checkpoints(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=1)
    good = store.save(3, write_model())
    for name in ("global_step_x", "global_step_03", "global_step_5"):
        (tmp_path / name).write_text("stray")
    (tmp_path / ".global_step_4.tmp-77").write_text("stray")
    assert store.latest() == good
    store.recover()
    later = store.save(6, write_model())
    assert store.latest() == later
    assert names(tmp_path) == ["global_step_03", "global_step_6", "global_step_x"]


def test_checkpoints_behind_links_are_used_replaced_and_retired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for directory in (run, elsewhere):
        directory.mkdir()
    store = CheckpointStore(run, keep_last=2)
    for step in (1, 2):
        moved = store.save(step, write_model()).rename(elsewhere / str(step))
        (run / f"global_step_{step}").symlink_to(moved)
    assert store.latest() == run / "global_step_2"
    store.save(2, write_model(b"new"))
    store.save(3, write_model())
    assert names(run) == ["global_step_2", "global_step_3"]
    assert f"its files stay in {elsewhere / '1'}" in caplog.text
    assert (elsewhere / "2" / "model.safetensors").read_bytes() == b"weights"
    (run / ".global_step_3.retired-77").symlink_to(elsewhere / "1")
    store.recover()
    assert names(run) == ["global_step_2", "global_step_3"]
    assert store.verify(elsewhere / "1") == []


def test_retention_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keep_last is 0"):
        CheckpointStore(tmp_path, keep_last=0)
    with pytest.raises(InputError, match="keep_best adds to keep_last"):
        CheckpointStore(tmp_path, keep_best="reward/mean")


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    good = store.save(1, write_model(b"x" * 2_000_000))

    def write(directory: Path) -> None:
        (directory / "half").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match=r"global_step_2 takes about 2 MB .* global_step_1, is"):
        store.save(2, write)
    assert store.latest() == good
    assert names(tmp_path) == ["global_step_1"]


def test_a_disk_that_fills_up_between_checkpoints_is_said_too(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(7, write_model())
    with (
        pytest.raises(RunError, match=r"disk is full: writing .* global_step_7, is intact"),
        store.naming_failures(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="denied"), store.naming_failures():
        raise OSError(errno.EACCES, "denied")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def write_safetensors(directory: Path) -> None:
    save_file({"weight": torch.zeros(1_000_000)}, directory / "model.safetensors")


def write_state(directory: Path) -> None:
    save_state(directory / "optimizer.pt", {"moments": torch.zeros(1_000_000)})


def write_many_files(directory: Path) -> None:
    for index in range(2_000):
        (directory / str(index)).write_bytes(b"x" * 1000)


def write_an_array(directory: Path) -> None:
    with (directory / "model.gguf").open("wb") as file:
        np.zeros(1_000_000).tofile(file)


def copy_a_model(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        Path(elsewhere, "weights").write_bytes(b"x" * 2_000_000)
        shutil.copytree(elsewhere, directory, dirs_exist_ok=True)


WRITERS = [write_safetensors, write_state, write_many_files, write_an_array, copy_a_model]


@pytest.mark.parametrize("write", WRITERS)
def test_a_disk_that_is_really_full_is_recognised(small_disk: Path, write: object) -> None:
    store = CheckpointStore(small_disk)
    good = store.save(1, write_model())
    with pytest.raises(RunError, match=r"disk is full.* global_step_1, is intact"):
        store.save(2, write)  # type: ignore[arg-type]
    assert store.latest() == good
    assert names(small_disk) == ["global_step_1"]
