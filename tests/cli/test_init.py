"""`astuner init`: what it writes is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.monitor.jsonl import read_metrics


@pytest.fixture
def project(astuner: Astuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, a project that was just begun."""
    monkeypatch.chdir(tmp_path)
    assert astuner("init", "my-agent").code == 0
    monkeypatch.chdir(tmp_path / "my-agent")
    return tmp_path / "my-agent"


def test_the_project_runs_as_it_is(astuner: Astuner, project: Path, tiny_model: Path) -> None:
    small = ("model.max_model_len=256", "buffer.batch_size=2", "algorithm.repeat_times=2")
    settings = [f"model.model_path={tiny_model}", "buffer.total_steps=1", "name=first", *small]
    ended = astuner("run", "main.py", *(part for s in settings for part in ("--set", s)))
    assert ended.code == 0, ended.err
    run = Path("checkpoints/tuning/first")
    steps = [record["step"] for record in read_metrics(run / "metrics.jsonl")]
    assert steps == [0, 1, 1]  # evaluated, trained, evaluated
    assert "judge.py:judge" in (run / "config.yaml").read_text()


def test_every_file_that_its_readme_names_is_there(project: Path) -> None:
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    named = {"agent.py", "judge.py", "config.yaml", "data/train.jsonl", "data/test.jsonl"}
    assert files == named | {"main.py", "README.md", ".gitignore"}
    assert all(f"`{name}`" in (project / "README.md").read_text() for name in named)


def test_no_task_is_both_learnt_and_held_out(project: Path) -> None:
    train, test = (
        {
            json.loads(line)["question"]
            for line in Path("data", f"{split}.jsonl").read_text().splitlines()
        }
        for split in ("train", "test")
    )
    assert len(train) == 130
    assert len(test) == 32
    assert not train & test


def test_what_is_there_is_not_written_over(astuner: Astuner, project: Path) -> None:
    ended = astuner("init", ".")
    assert ended.code == 2
    assert "not empty" in ended.err
