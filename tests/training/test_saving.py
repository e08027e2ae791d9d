"""Model directories: in one file or in several, whose weights are not all there at once."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from agentscope_tuner.training import saving
from agentscope_tuner.training.saving import save_model_directory

SMALL = 20_000


class MadeWhenAskedFor(Mapping[str, Tensor]):
    """Weights of a model, each a copy; it knows how many bytes of them were held at most."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._weights = dict(model.named_parameters())
        self._held = 0
        self.most_held = 0

    def __getitem__(self, name: str) -> Tensor:
        weight = self._weights[name].detach().clone()
        self._held += weight.nbytes
        self.most_held = max(self.most_held, self._held)
        weakref.finalize(weight, self._let_go, weight.nbytes)
        return weight

    def _let_go(self, size: int) -> None:
        self._held -= size

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.safetensors*"))


def assert_loads_as(model: PreTrainedModel, directory: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(directory)
    expected = dict(model.named_parameters())
    assert all(torch.equal(p, expected[name]) for name, p in loaded.named_parameters())


def test_large_weights_go_into_several_files_and_are_held_a_file_at_a_time(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "MOST_OF_A_FILE", SMALL)
    weights = MadeWhenAskedFor(model)
    save_model_directory(tmp_path, model, weights)
    *parts, index = files(tmp_path)
    assert len(parts) > 2
    assert index == "model.safetensors.index.json"
    largest = max(p.nbytes for p in model.parameters())
    assert weights.most_held <= max(SMALL, largest) + largest
    assert_loads_as(model, tmp_path)


def test_files_of_an_earlier_save_go(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {name: p.detach() for name, p in model.named_parameters()}
    with monkeypatch.context() as patched:
        patched.setattr(saving, "MOST_OF_A_FILE", SMALL)
        save_model_directory(tmp_path, model, weights)
    save_model_directory(tmp_path, model, weights)
    assert files(tmp_path) == ["model.safetensors"]
    assert_loads_as(model, tmp_path)
