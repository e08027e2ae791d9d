"""The pages on algorithms say what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, blocks, text_of

from agentscope_tuner.algorithms.catalogue import catalogue
from agentscope_tuner.algorithms.document import written
from agentscope_tuner.algorithms.registry import get_algorithm
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
    program, _ = blocks(ROOT / "docs" / "your_own_algorithm.md", "python")
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


def test_the_example_of_an_own_class_takes_what_it_declares_and_refuses_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, program = blocks(ROOT / "docs" / "your_own_algorithm.md", "python")
    (tmp_path / "my_rule.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "my_rule:Bold"
    algorithm = get_algorithm(
        algorithm_type=name, algorithm_args={"bar": 0.8}, loss_agg_mode="token-mean"
    )
    assert (algorithm.bar, algorithm.loss_agg_mode) == (0.8, "token-mean")
    assert get_algorithm(algorithm_type=name, default_correction="truncated").bar == 0.5
    refusals = {
        "declares no entropy_coef, policy_loss_fn, so": {
            "policy_loss_fn": "ppo",
            "entropy_coef": 0.1,
        },
        "declares no importance_correction": {"importance_correction": "truncated"},
        "declares no kl_loss_fn": {"kl_loss_fn": "k2"},
        "'bra' is not known; did you mean bar": {"algorithm_args": {"bra": 1}},
    }
    for message, settings in refusals.items():
        with pytest.raises(InputError, match=message):
            get_algorithm(algorithm_type=name, **settings)
    with pytest.raises(InputError, match="algorithm_args has no effect with grpo"):
        get_algorithm(algorithm_type="grpo", algorithm_args={"bar": 1})
    with pytest.raises(InputError, match="is no Advantage"):
        get_algorithm(algorithm_type="grpo", advantage_fn=name)


def test_no_file_of_an_algorithm_is_long() -> None:
    for path in (ROOT / "src" / "agentscope_tuner" / "algorithms").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 120, path.name
