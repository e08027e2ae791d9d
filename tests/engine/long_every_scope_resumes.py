"""As `test_every_type_resumes.py`, with one type of each scope on the real small model."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_every_type_resumes import resumes_alike

from agentscope_tuner.algorithms.registry import get_algorithm

OF_SCOPE = {"token": "ppo", "sequence": "gspo", "pair": "dpo", "batch": "m2po"}


@pytest.mark.parametrize("scope", OF_SCOPE)
def test_killed_in_its_second_step_it_ends_as_if_nothing_had_happened(
    scope: str, smol_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = OF_SCOPE[scope]
    assert get_algorithm(algorithm_type=name).scope == scope
    resumes_alike(name, smol_directory, tmp_path, monkeypatch)
