"""Loading samples, and one clear sentence for everything that can be wrong with them."""

from __future__ import annotations

import json
import time

import datasets
import pytest

from agentscope_tuner.config.preview import first_samples, source_of
from agentscope_tuner.errors import InputError
from agentscope_tuner.tasks import load_samples

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(5)]


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "my_dataset"
    folder.mkdir()
    for split, rows in {"train": ROWS, "test": ROWS[:2]}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_dataset_of_the_hub_may_say_its_revision():
    pinned = {"path": "openai/gsm8k", "name": "main", "revision": "abc123"}
    assert source_of("openai/gsm8k@abc123", "main") == pinned
    assert source_of("openai/gsm8k", None)["revision"] is None


def test_a_directory_has_a_split_for_each_file(directory):
    assert list(load_samples(str(directory))) == ROWS
    assert list(load_samples(str(directory), split="test")) == ROWS[:2]
    assert list(load_samples(str(directory), split="train[1:3]")) == ROWS[1:3]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "csv"])
def test_a_single_file_is_a_train_split(directory, suffix):
    path = str(directory.parent / f"tasks.{suffix}")
    table = datasets.Dataset.from_list([{"question": row["question"], "n": 1} for row in ROWS])
    writer = {"jsonl": table.to_json, "json": table.to_json, "csv": table.to_csv}
    writer.get(suffix, table.to_parquet)(path)
    samples = load_samples(path)
    assert samples[0] == {"question": "What is 0 + 1?", "n": 1}
    assert load_samples(path, split=None)[0] == samples[0]


def test_changed_files_are_read_anew(directory):
    load_samples(str(directory))
    with (directory / "train.jsonl").open("a") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    assert len(load_samples(str(directory))) == 6


def refused(**arguments: object) -> str:
    with pytest.raises(InputError) as error:
        load_samples(**arguments)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_a_missing_split_is_refused_with_those_there_are(directory):
    message = refused(path=str(directory), split="dev")
    assert "has no split 'dev'; it has train, test." in message
    assert "it has train." in refused(path=str(directory / "train.jsonl"), split="test")


def test_a_plain_directory_has_no_configurations(directory, caplog):
    samples = load_samples(str(directory), name="main", split="train")
    assert len(samples) == len(load_samples(str(directory), split="train"))
    assert "'main' names none" in caplog.text


def test_a_split_must_be_named_where_there_are_several(directory):
    assert "it has train, test." in refused(path=str(directory), split=None)


@pytest.mark.parametrize("path", ["my_dateset", "./data/nothing", "some/where/deep", "/no/where"])
def test_a_missing_path_is_refused_without_a_long_wait(directory, path):
    began = time.perf_counter()
    assert f"{path!r} is neither a file or directory here nor" in refused(path=path)
    assert time.perf_counter() - began < 15


def test_empty_data_is_refused(directory):
    (directory / "train.jsonl").write_text("")
    assert "is empty" in refused(path=str(directory / "train.jsonl"))
    assert "is empty in its split 'train'" in refused(path=str(directory))
    (directory / "head.csv").write_text("question,answer\n")
    assert "is empty" in refused(path=str(directory / "head.csv"))


def test_a_directory_without_data_is_refused(directory):
    (directory.parent / "bare").mkdir()
    assert "bare" in refused(path=str(directory.parent / "bare"))


def test_files_that_cannot_be_read_are_refused(directory):
    (directory / "train.jsonl").write_text('{"question": "no end\n')
    assert "cannot be loaded" in refused(path=str(directory / "train.jsonl"))
    (directory / "tasks.txt").write_text("hello")
    assert ".jsonl, .json, .parquet, .csv" in refused(path=str(directory / "tasks.txt"))


def test_progress_bars_are_as_they_were_before(directory):
    assert not datasets.are_progress_bars_disabled()
    load_samples(str(directory))
    assert not datasets.are_progress_bars_disabled()


def test_a_preview_takes_what_a_run_takes(directory, monkeypatch):
    monkeypatch.setenv("HOME", str(directory.parent))
    for path in (str(directory), "~/my_dataset", str(directory / "train.jsonl")):
        assert first_samples(path, None, "train", 2) == ROWS[:2]
        assert load_samples(path)[0] == ROWS[0]
    (directory / "tasks.txt").write_text("hello")
    with pytest.raises(InputError, match=r"\.jsonl, \.json, \.parquet, \.csv"):
        first_samples(str(directory / "tasks.txt"), None, "train", 2)
