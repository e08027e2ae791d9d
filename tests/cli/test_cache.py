"""`astuner cache`: what is listed and removed, and what is left alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.config.kept_samples import keep

KERNELS = "kernels/native-29af95e61cca.so"
MODEL = "models/small.Q4_1-01dc1b385426"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with something of each kind, and things that are not ours."""
    place = tmp_path / "cache"
    monkeypatch.setenv("ASTUNER_CACHE", str(place))
    for file in (
        KERNELS,
        f"{MODEL}/model.safetensors",
        "models/my own model/model.safetensors",
        "models/.small.Q4_1-01dc1b385426-abcd_123/model.safetensors",
        "kernels/tmpabcd_123/native.so",
        "notes/native-29af95e61cca.so",
    ):
        path = place / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000 if file == KERNELS else 2_000_000))
    (place / "models" / "link-0123456789ab").symlink_to(tmp_path)
    keep([{"question": "1 + 1?"}])
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(place / "models/.small.Q4_1-01dc1b385426-abcd_123", (long_ago, long_ago))
    return place


def test_what_we_have_put_there_is_listed(astuner: Astuner, place: Path) -> None:
    found = json.loads(astuner("cache", "--json").out)
    assert found["directory"] == str(place)
    sizes = {one["name"]: one["size"] for one in found["kept"]}
    [samples] = [name for name in sizes if name.startswith("datasets/")]
    left = "models/.small.Q4_1-01dc1b385426-abcd_123"  # by a process that was killed days ago
    assert sizes.keys() == {KERNELS, MODEL, samples, left}
    assert sizes[KERNELS] == 1000
    assert sizes[MODEL] == 2_000_000
    table = astuner("cache").out
    assert MODEL in table
    assert "3 days ago" in table
    assert f"MB in {place}" in " ".join(table.split())


def test_what_is_named_is_removed_and_nothing_else(astuner: Astuner, place: Path) -> None:
    before = {path for path in place.rglob("*") if not path.is_dir()}
    ended = astuner("cache", "--remove", KERNELS, "--remove", "models/small*")
    assert ended.code == 0
    after = {path for path in place.rglob("*") if not path.is_dir()}
    assert before - after == {place / KERNELS, place / MODEL / "model.safetensors"}


def test_everything_is_what_is_ours(astuner: Astuner, place: Path) -> None:
    assert astuner("cache", "--remove", "*").code == 0
    assert sorted(path.name for path in place.rglob("*") if not path.is_dir()) == [
        "model.safetensors",
        "native-29af95e61cca.so",
        "native.so",  # perhaps somebody is just making it
    ]
    assert (place / "models" / "link-0123456789ab").is_symlink()
    assert "0.0 MB in" in astuner("cache").out


def test_what_is_not_there_is_said_before_anything_is_removed(
    astuner: Astuner, place: Path
) -> None:
    ended = astuner("cache", "--remove", KERNELS, "--remove", "../secret")
    assert ended.code == 2
    assert "Nothing in the cache is called ../secret" in ended.err
    assert (place / KERNELS).exists()
