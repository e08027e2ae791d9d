"""`astuner export --push`: the real client of the hub, against a small hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from command_line import Astuner
from small_hub import Hub, hub


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that the client speaks to."""
    with hub(token="t") as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "t")
        yield server


def test_a_model_and_its_card_arrive_as_they_were_exported(
    astuner: Astuner, tuned: Path, here: Hub
) -> None:
    ended = astuner("export", tuned, "out", "--push", "O/model")
    assert ended.code == 0, ended.err
    assert f"uploaded: {here.address}/O/model/commit/abc" in ended.out
    assert here.repositories == {"O/model": True}
    written = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert here.files == written
    assert b"# first, step 2" in here.files["README.md"]


def test_everybody_may_read_it_only_if_that_was_asked_for(
    astuner: Astuner, tuned: Path, here: Hub
) -> None:
    assert astuner("export", tuned, "out", "--push", "O/model", "--public").code == 0
    assert here.repositories == {"O/model": False}


def test_a_wrong_token_is_told_before_anything_is_written(
    astuner: Astuner, tuned: Path, here: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "another")
    ended = astuner("export", tuned, "out", "--push", "O/model")
    assert ended.code == 2
    said = " ".join(ended.err.split())
    assert "the hub refuses it (status 401): log in with `hf auth login`" in said
    assert not Path("out").exists()


def test_no_hub_to_be_reached_is_one_sentence(
    astuner: Astuner, tuned: Path, here: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    ended = astuner("export", tuned, "out", "--push", "O/model")
    assert ended.code == 2
    assert "--push O/model: the hub cannot be reached" in " ".join(ended.err.split())
    assert not Path("out").exists()


def test_offline_nothing_is_sent(
    astuner: Astuner, tuned: Path, here: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    ended = astuner("export", tuned, "out", "--push", "O/model")
    assert ended.code == 2
    assert "HF_HUB_OFFLINE is set, so nothing is sent" in " ".join(ended.err.split())
    assert here.repositories == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--push", "a/b/c"), "that is no name of a repository"),
        (("--public",), "--public is for --push"),
    ],
)
def test_bad_input_is_a_sentence(
    astuner: Astuner, tuned: Path, given: tuple[str, ...], says: str
) -> None:
    ended = astuner("export", tuned, "out", *given)
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
