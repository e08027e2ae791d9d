"""The page on parts of one's own: its file, with its configuration, in a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, blocks

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, tune
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from attack.program import ask, write_data

PAGE = ROOT / "docs" / "your_own_parts.md"


def test_the_parts_of_the_page_take_part_in_a_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [program], [configuration] = blocks(PAGE, "python"), blocks(PAGE, "yaml")
    (tmp_path / "my_parts.py").write_text(program)
    (tmp_path / "parts.yaml").write_text(configuration)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = str(write_data(tmp_path / "data"))
    result = tune(
        workflow_func=ask,
        model=TunerModelConfig(model_path=str(tiny_model), max_model_len=256, max_tokens=8),
        train_dataset=DatasetConfig(path=data, split="train", total_steps=2),
        algorithm=AlgorithmConfig(group_size=3, batch_size=2, save_interval_steps=2),
        config_path=str(tmp_path / "parts.yaml"),
    )
    rollouts = read_rollouts(rollouts_path(result.run_directory, 1))
    assert [rollout.task["question"] for rollout in rollouts[::3]] == ["11 + 1 =", "9 + 1 ="]
    assert {rollout.left_out for rollout in rollouts} <= {"", "polite"}
    assert all(("1" in rollout.response) != bool(rollout.left_out) for rollout in rollouts)
    lines = (result.run_directory / "rewards.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
