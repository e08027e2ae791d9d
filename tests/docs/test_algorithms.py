"""The pages on algorithms say what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, blocks, text_of

from agentscope_tuner.algorithms.document import written
from agentscope_tuner.algorithms.registry import catalogue, get_algorithm
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory

PAGE = ROOT / "docs" / "algorithms.md"


def test_the_tables_are_current() -> None:
    assert text_of(PAGE) == written(text_of(PAGE)), "python -m agentscope_tuner.algorithms.document"
    assert all(f"| `{name}` |" in text_of(PAGE) for name in catalogue().types)


def test_every_argument_is_described() -> None:
    assert "|  |\n" not in text_of(PAGE)


def test_the_example_of_an_own_algorithm_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [program] = blocks(ROOT / "docs" / "your_own_algorithm.md", "python")
    (tmp_path / "my_rules.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    algorithm = get_algorithm(algorithm_type="my_rules:BAR", advantage_fn_args={"bar": 0.8})
    members = [Rollout(str(r), {}, Trajectory(), reward=r) for r in (0.7, 0.9)]
    algorithm.advantages([RolloutGroup("g", {}, members)])
    assert [member.advantage for member in members] == [-1.0, 1.0]
    assert algorithm.compares
    assert algorithm.policy_loss.name == "my_rules:Plain"
    with pytest.raises(InputError, match="'bra' is not known; did you mean bar"):
        get_algorithm(algorithm_type="my_rules:BAR", advantage_fn_args={"bra": 1})
