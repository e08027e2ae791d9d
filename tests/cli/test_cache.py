"""`astuner cache`: what is listed and removed, and what is left alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.cache import KERNELS, MODELS
from agentscope_tuner.config.kept_samples import keep

DIGEST = "0123456789abcdef" * 4
KERNEL = f"kernels/{KERNELS.place(DIGEST).name}"
MODEL = f"models/{MODELS.place(DIGEST, 'small.Q4_1').name}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with something of each kind, and things that are not ours."""
    place = tmp_path / "cache"
    monkeypatch.setenv("ASTUNER_CACHE", str(place))
    for file in (
        KERNEL,
        f"{MODEL}/model.safetensors",
        "models/my own model/model.safetensors",
        f"notes/{Path(KERNEL).name}",
    ):
        path = place / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000 if file == KERNEL else 2_000_000))
    (place / "models" / Path(MODEL).name.replace("small", "link")).symlink_to(tmp_path)
    keep([{"question": "1 + 1?"}])
    return place


@pytest.fixture
def left(place: Path) -> Iterator[str]:
    """What was left of a model by a process that was killed days ago; a kernel is just made."""
    with MODELS.workshop() as model, KERNELS.workshop() as kernel:
        (model / "model.safetensors").write_bytes(bytes(2_000_000))
        (kernel / "native.so").write_bytes(bytes(1000))
        long_ago = time.time() - 3 * 24 * 3600
        os.utime(model, (long_ago, long_ago))
        yield f"models/{model.name}"


def test_what_we_have_put_there_is_listed(astuner: Astuner, place: Path, left: str) -> None:
    found = json.loads(astuner("cache", "--json").out)
    assert found["directory"] == str(place)
    sizes = {one["name"]: one["size"] for one in found["kept"]}
    [samples] = [name for name in sizes if name.startswith("datasets/")]
    assert sizes.keys() == {KERNEL, MODEL, samples, left}
    assert sizes[KERNEL] == 1000
    assert sizes[MODEL] == 2_000_000
    table = astuner("cache").out
    assert MODEL in table
    assert "3 days ago" in table
    assert f"MB in {place}" in " ".join(table.split())


def test_what_is_named_is_removed_and_nothing_else(astuner: Astuner, place: Path) -> None:
    before = {path for path in place.rglob("*") if not path.is_dir()}
    ended = astuner("cache", "--remove", KERNEL, "--remove", "models/small*")
    assert ended.code == 0
    after = {path for path in place.rglob("*") if not path.is_dir()}
    assert before - after == {place / KERNEL, place / MODEL / "model.safetensors"}


def test_everything_is_what_is_ours(astuner: Astuner, place: Path, left: str) -> None:
    assert astuner("cache", "--remove", "*").code == 0
    assert sorted(path.name for path in place.rglob("*") if not path.is_dir()) == [
        "model.safetensors",
        Path(KERNEL).name,
        "native.so",  # perhaps somebody is just making it
    ]
    assert [path.name[:5] for path in place.rglob("*") if path.is_symlink()] == ["link."]
    assert "0.0 MB in" in astuner("cache").out


def test_what_is_not_there_is_said_before_anything_is_removed(
    astuner: Astuner, place: Path
) -> None:
    ended = astuner("cache", "--remove", KERNEL, "--remove", "../secret")
    assert ended.code == 2
    assert "Nothing in the cache is called ../secret" in ended.err
    assert (place / KERNEL).exists()
