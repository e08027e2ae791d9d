"""Algorithms of every kind, killed in their second step, end as if nothing had happened.

What a kill leaves is what is on the disk at that moment; it is copied away in the middle of the
second step, gone on with, and compared bit by bit. (`test_resume.py` sends real signals to whole
processes; `long_every_type_resumes.py` takes every type, and the real small model.)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.catalogue import catalogue
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.engine.learning import Learning
from agentscope_tuner.tuning import Invocation, invoked_as
from attack.sameness import differences

ARGUMENTS = {"gdpo": {"advantage_fn_args": {"rewards": {"judge/length": 1.0}}}}
"""What a type cannot do without."""
RUN = Path("checkpoints/AgentScope/run")
ALWAYS = ("deterministic=true", "name=run", "buffer.train_batch_size=4")


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Two calls, with rewards and states of their own."""
    texts = []
    for turn in (task["question"], "Are you sure?"):
        response = await model([{"role": "user", "content": turn}])
        texts.append(response.content[0]["text"] if response.content else "")
    rewards = [len(set(text)) / 10 for text in texts]
    keys = ["begin", "sure"]
    return WorkflowOutput(
        reward=sum(rewards), response=texts[-1], step_rewards=rewards, state_keys=keys
    )


async def judge(task: dict[str, Any], response: str) -> JudgeOutput:
    metrics = {"length": float(len(response)), "letters": float(len(set(response)))}
    return JudgeOutput(reward=metrics["letters"] - 5, metrics=metrics)


def write_samples(path: Path) -> Path:
    """Samples that every kind of data can be read from."""
    lines = []
    for n in range(6):
        question = {"role": "user", "content": f"{n} + 1 ="}
        answer, other = ({"role": "assistant", "content": str(n + k)} for k in (1, 2))
        sample = {
            "question": f"{n} + 1 =",
            "text": f"{n} and one are {n + 1}",
            "messages": [question, answer],
            "prompt": [question],
            "chosen": [answer],
            "rejected": [other],
        }
        lines.append(json.dumps(sample) + "\n")
    path.write_text("".join(lines))
    return path


def algorithm_of(name: str) -> Algorithm:
    return get_algorithm(algorithm_type=name, **ARGUMENTS.get(name, {}))


def first_of_each_kind() -> list[str]:
    """By what a run holds and does for it: its data, what couples tokens, the columns it fills."""
    kinds: dict[object, str] = {}
    for name in sorted(catalogue().types):
        algorithm = algorithm_of(name)
        needs = (algorithm.needs_experts, algorithm.needs_greedy, algorithm.needs_critic)
        columns = algorithm.before_advantages, algorithm.before_updates(2)
        kinds.setdefault((algorithm.data, algorithm.scope, needs, columns), name)
    return list(kinds.values())


def settings_of(name: str, model: Path, data: Path) -> list[str]:
    algorithm = algorithm_of(name)
    settings = [*ALWAYS]
    settings += ["algorithm.advantage_fn_args.rewards={judge/length: 1.0}"] * (name == "gdpo")
    settings += [f"model.teacher_model_path={model}"] * algorithm.needs_teacher
    settings += [f"buffer.experts.path={data}"] * algorithm.needs_experts
    return settings


def tuned(name: str, model: Path, data: Path, more: Sequence[str], *, resume: bool = False) -> None:
    settings = [*settings_of(name, model, data), *more]
    with invoked_as(Invocation(settings=settings, resume=resume)):
        tune(
            workflow_func=ask,
            judge_func=judge,
            model=TunerModelConfig(model_path=str(model), max_model_len=128, max_tokens=6),
            train_dataset=DatasetConfig(path=str(data), total_steps=2),
            algorithm=AlgorithmConfig(
                algorithm_type=name,
                group_size=2,
                batch_size=2,
                learning_rate=1e-3,
                save_interval_steps=1,
            ),
        )


def copied(source: str, target: str) -> None:
    """Checkpoints are never written to again, and large."""
    (os.link if "global_step_" in source else shutil.copy2)(source, target)


def left_by_a_kill(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Copy the run to `place` as soon as half of its second step is learnt."""
    update = Learning._update

    def updated(self: Learning, step: int, done: float, batch: Any) -> dict[str, float]:
        learnt = update(self, step, done, batch)
        if step == 2 and not place.exists():
            shutil.copytree(RUN, place, copy_function=copied)
        return learnt

    monkeypatch.setattr(Learning, "_update", updated)


def resumes_alike(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *settings: str
) -> None:
    data = write_samples(tmp_path / "samples.jsonl")
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    monkeypatch.chdir(alone)
    with monkeypatch.context() as patch:
        left_by_a_kill(patch, killed / RUN)
        tuned(name, model, data, settings)
    assert [p.name for p in (killed / RUN).glob("global_step_*")] == ["global_step_1"]
    monkeypatch.chdir(killed)
    tuned(name, model, data, settings, resume=True)
    assert differences(killed / RUN, alone / RUN) == {}
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(alone)
    shutil.rmtree(killed)


@pytest.mark.parametrize("name", first_of_each_kind())
def test_killed_in_its_second_step_it_ends_as_if_nothing_had_happened(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumes_alike(name, tiny_model, tmp_path, monkeypatch)
