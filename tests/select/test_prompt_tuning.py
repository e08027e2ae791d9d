"""`tune_prompt` finds a better prompt, keeps what it tried, and goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, write_tasks

from agentscope_tuner import DatasetConfig, InputError, PromptTuneConfig, RunError, tune_prompt
from agentscope_tuner.runs.rollouts import read_rollouts
from agentscope_tuner.select.proposals import shortened
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput

MISLEADING = "You answer questions. Always answer with a colour. Be polite."
QUIET = {"eval_display_progress": False, "eval_display_table": 0}


def obeying(messages: list[dict[str, Any]]) -> str:
    """A model that does what its system prompt says, and proposes prompts that are no better."""
    if "system prompt of an assistant" in messages[0]["content"]:
        return f"<prompt>Always name a colour {len(messages[0]['content'])}</prompt>"
    return "blue" if "colour" in messages[0]["content"] else messages[1]["content"]


async def ask(task: dict[str, Any], system_prompt: str, model: Any) -> WorkflowOutput:
    messages = [
        {"role": "system", "content": system_prompt},
        {"role": "user", "content": str(task["n"])},
    ]
    answer = await model(messages)
    return WorkflowOutput(response=answer.content[0]["text"])


async def exact(task: dict[str, Any], response: str) -> JudgeOutput:
    return JudgeOutput(reward=float(response == task["answer"]))


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetConfig:
    monkeypatch.chdir(tmp_path)
    return DatasetConfig(path=str(write_tasks(tmp_path, 20)))


def tuned(tasks: DatasetConfig, model: Any, **arguments: Any) -> tuple[str, dict[str, float]]:
    given: dict[str, Any] = {
        "workflow": ask,
        "init_system_prompt": MISLEADING,
        "judge_func": exact,
        "train_dataset": tasks,
        "config": PromptTuneConfig(**QUIET),  # type: ignore[arg-type]
        "experiment_name": "first",
        "model": model,
    }
    return tune_prompt(**given | arguments)


def test_the_sentence_that_misleads_is_found(tasks: DatasetConfig, tmp_path: Path) -> None:
    prompt, metrics = tuned(tasks, Scripted("m", obeying), eval_dataset=tasks)
    assert "colour" not in prompt
    assert (metrics["eval/before"], metrics["eval/after"]) == (0.0, 1.0)
    assert (metrics["eval/change"], metrics["eval/change_standard_error"]) == (1.0, 0.0)
    assert metrics["valset_improvement"] == 0.0  # in percent of nothing, as AgentScope has it
    run = tmp_path / "checkpoints" / "AgentScope" / "first"
    assert (run / "prompt.txt").read_text() == prompt
    origins = [json.loads(line)["origin"] for line in (run / "proposals.jsonl").open()]
    assert {"written", "shortened"} == set(origins)
    rounds = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert rounds[1]["reward/best"] == 1.0
    assert rounds[-1]["eval/after"] == 1.0
    assert len(read_rollouts(run / "rollouts" / "step_1.jsonl.zst")) > 8


def test_a_run_goes_on_without_doing_anything_twice(tasks: DatasetConfig, tmp_path: Path) -> None:
    calls: list[str] = []

    def counting(messages: list[dict[str, Any]]) -> str:
        calls.append(messages[0]["content"])
        return obeying(messages)

    whole = tuned(tasks, Scripted("m", counting), experiment_name="whole")
    needed, calls[:] = len(calls), []
    trials = tmp_path / "checkpoints" / "AgentScope" / "whole" / "trials.jsonl"
    lines = trials.read_text().splitlines(keepends=True)
    trials.write_text("".join(lines[:25]) + lines[25][:7])  # killed while it wrote
    again = tuned(tasks, Scripted("m", counting), experiment_name="whole", resume=True)
    assert again == whole
    assert len(calls) == len(lines) - 25 < needed


def test_another_run_is_not_gone_on_with(tasks: DatasetConfig) -> None:
    model = Scripted("m", obeying)
    tuned(tasks, model)
    with pytest.raises(InputError, match="already: give resume=True"):
        tuned(tasks, model)
    with pytest.raises(InputError, match="begun with another init_system_prompt"):
        tuned(tasks, model, resume=True, init_system_prompt="Another.")


def test_nothing_better_leaves_the_first_prompt(tasks: DatasetConfig) -> None:
    prompt, metrics = tuned(tasks, Scripted("m", obeying), init_system_prompt="Answer.")
    assert prompt == "Answer."
    assert metrics == {}


def test_a_workflow_with_a_model_of_its_own(tasks: DatasetConfig) -> None:
    own = Scripted("own", obeying)

    async def workflow(task: dict[str, Any], system_prompt: str) -> WorkflowOutput:
        return await ask(task, system_prompt, own)

    prompt, _ = tuned(tasks, Scripted("proposer", obeying), workflow=workflow)
    assert "colour" not in prompt


def test_failures_are_told(tasks: DatasetConfig) -> None:
    def broken(messages: list[dict[str, Any]]) -> str:
        raise ConnectionError("gone")

    with pytest.raises(RunError, match=r"Every task of the first prompt failed.*gone"):
        tuned(tasks, Scripted("m", broken))


def test_without_a_model_to_propose_it_says_how_to_give_one(
    tasks: DatasetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("DASHSCOPE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(key, raising=False)

    async def workflow(task: dict[str, Any], system_prompt: str) -> WorkflowOutput:
        return WorkflowOutput(response="")

    with pytest.raises(InputError, match=r"no model to propose prompts.*proposer="):
        tuned(tasks, None, workflow=workflow)
    with pytest.raises(InputError, match="takes a model: give tune_prompt"):
        tuned(tasks, None)


def test_a_prompt_is_shortened_sentence_by_sentence() -> None:
    assert list(shortened("One. Two!\nThree?")) == [
        "Two! Three?",
        "One. Three?",
        "One. Two!",
        "One.",
    ]
    assert list(shortened("One.")) == []
