"""As `test_every_type_resumes.py`, for every type, and for one of each scope on the real model.

`python -m pytest tests/engine/long_every_type_resumes.py`
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_every_type_resumes import algorithm_of, first_of_each_kind, resumes_alike

from agentscope_tuner.algorithms.catalogue import catalogue

OTHERS = sorted(set(catalogue().types) - set(first_of_each_kind()))
OF_SCOPE = {"token": "ppo", "sequence": "gspo", "pair": "dpo", "batch": "m2po"}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_type_too(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumes_alike(name, tiny_model, tmp_path, monkeypatch)


@pytest.mark.parametrize("scope", OF_SCOPE)
def test_one_of_each_scope_on_the_real_small_model(
    scope: str, smol_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = OF_SCOPE[scope]
    assert algorithm_of(name).scope == scope
    adapters = ("model.lora.rank=4", "trainer.keep_last=1")  # a fifth of the memory and disk
    resumes_alike(name, smol_directory, tmp_path, monkeypatch, *adapters)
