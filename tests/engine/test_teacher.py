"""Distillation from a teacher of the same tokenizer, with tiny random models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, WorkflowOutput, tune
from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from agentscope_tuner.tuning import Invocation, invoked_as


async def answer(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(reward=0.0)


def distilled(
    student: Path, data: Path, algorithm: str, teacher: Path | None, *settings: str
) -> Any:
    named = [] if teacher is None else [f"model.teacher_model_path={teacher}"]
    with invoked_as(Invocation(settings=[*named, *settings])):
        return tune(
            workflow_func=answer,
            model=TunerModelConfig(model_path=str(student), max_model_len=64, max_tokens=4),
            train_dataset=DatasetConfig(path=str(data), total_steps=1),
            algorithm=AlgorithmConfig(algorithm_type=algorithm, group_size=1, batch_size=2),
            monitor_type="none",
        )


@pytest.mark.parametrize("algorithm", ["on_policy_distill", "jsd"])
def test_the_teacher_judges_every_sampled_token(
    algorithm: str, tiny_model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = distilled(tiny_model, sums, algorithm, tiny_model)
    for rollout in read_rollouts(rollouts_path(result.run_directory, 1)):
        for segment in rollout.trajectory.sampled_segments():
            columns = segment.sampled.columns
            # The student is the teacher still, so there is nothing to learn.
            assert columns["teacher"] == pytest.approx(columns["proximal"], abs=1e-5, nan_ok=True)
            assert columns["advantage"] == pytest.approx(
                [0.0] * len(columns["advantage"]), abs=1e-5
            )


@pytest.fixture
def stranger(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with a tokenizer that has a token more."""
    directory = tmp_path / "stranger"
    shutil.copytree(tiny_model, directory)
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    text = next(iter(tokenizer["model"]["vocab"]))
    tokenizer["model"]["vocab"][text + "never-seen"] = 10**5
    path.write_text(json.dumps(tokenizer))
    return directory


def test_a_teacher_of_another_tokenizer_is_refused(
    stranger: Path, tiny_model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"The teacher .* has another tokenizer"):
        distilled(tiny_model, sums, "jsd", stranger)
    critic = f"model.critic_model_path={stranger}"
    with pytest.raises(InputError, match=r"The critic .* has another tokenizer"):
        distilled(tiny_model, sums, "ppo", None, critic)


@pytest.mark.parametrize(
    ("algorithm", "has_teacher", "message"),
    [
        ("jsd", False, "jsd needs a teacher: name one as model.teacher_model_path"),
        ("reinforceplusplus", True, "no use for model.teacher_model_path"),
    ],
)
def test_what_an_algorithm_needs_is_told(
    algorithm: str,
    has_teacher: bool,
    message: str,
    tiny_model: Path,
    sums: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        distilled(tiny_model, sums, algorithm, tiny_model if has_teacher else None)
