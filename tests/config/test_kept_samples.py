"""A dataset out of samples that a program made."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import datasets
import pytest

from agentscope_tuner import DatasetConfig, InputError
from agentscope_tuner.tasks.loading import load_samples

SUMS = [{"question": f"{n} + 1 =", "answer": n + 1, "day": datetime(2026, 11, 24)} for n in (1, 2)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path))
    return tmp_path


def test_a_list_is_read_as_it_was_given() -> None:
    dataset = DatasetConfig.from_samples(SUMS, total_epochs=3)
    assert [*load_samples(dataset.path, split=dataset.split)] == SUMS
    assert dataset.total_epochs == 3
    assert dataset.model_fields_set == {"path", "total_epochs"}


def test_nothing_is_said_about_it(capfd: pytest.CaptureFixture[str]) -> None:
    DatasetConfig.from_samples(SUMS)
    assert capfd.readouterr() == ("", "")


def test_a_dataset_is_too_and_the_same_samples_have_the_same_place(cache: Path) -> None:
    one = DatasetConfig.from_samples(SUMS)
    two = DatasetConfig.from_samples(datasets.Dataset.from_list(SUMS))
    assert one.path == two.path
    assert DatasetConfig.from_samples(SUMS[:1]).path != one.path
    assert len([*(cache / "datasets").iterdir()]) == 2


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [([], "list is empty"), ([{"a": 1}, {"a": "x"}], "fit in no table"), ([1], "fit in no table")],
)
def test_what_is_no_table_is_a_sentence(samples: list, sentence: str, cache: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        DatasetConfig.from_samples(samples)
    assert not [*cache.rglob("*.parquet")]
