"""mix and mix_chord on rollouts and written conversations, with a tiny random model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    Run,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine import models
from agentscope_tuner.engine.experts import Experts, interleaved
from agentscope_tuner.engine.learning import split_batch
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup, Trajectory
from agentscope_tuner.tuning import Invocation, invoked_as


async def answer(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    response = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(reward=len(response.content[0]["text"]) if response.content else 0.0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Five conversations, each of the same number of tokens."""
    path = tmp_path / "written.jsonl"
    lines = []
    for number in range(5):
        question = {"role": "user", "content": f"{number} + 1 ="}
        answer = {"role": "assistant", "content": str(number + 1)}
        lines.append(json.dumps({"messages": [question, answer]}))
    path.write_text("\n".join(lines))
    return path


def tuned(model: Path, data: Path, *settings: str, algorithm: str = "mix") -> list[dict[str, Any]]:
    with invoked_as(Invocation(settings=["deterministic=true", *settings])):
        result = tune(
            workflow_func=answer,
            model=TunerModelConfig(model_path=str(model), max_model_len=64, max_tokens=4),
            train_dataset=DatasetConfig(path=str(data), total_steps=6),
            algorithm=AlgorithmConfig(
                algorithm_type=algorithm, group_size=2, batch_size=2, learning_rate=5e-3
            ),
            monitor_type="none",
        )
    return read_metrics(result.run_directory / "metrics.jsonl")


def test_experts_are_learnt_from_beside_the_rollouts(
    tiny_model: Path, sums: Path, written: Path
) -> None:
    experts = f"buffer.experts.path={written}"
    records = tuned(tiny_model, sums, experts, "algorithm.policy_loss_fn_args.mu=1")
    losses = [record["policy/loss"] for record in records]
    assert losses[-1] < losses[0] - 1  # with mu 1 it is theirs alone
    assert records[0]["rollout/count"] == 4
    [run] = sums.parent.glob("checkpoints/AgentScope/*")
    kept = [r for r in read_rollouts(rollouts_path(run, 1)) if r.expert]
    assert [r.id for r in kept] == [f"step1-expert{number}" for number in range(4)]
    said = [segment.sampled for r in kept for segment in r.trajectory.sampled_segments()]
    assert said
    assert all({"learner", "entropy"} <= sampled.columns.keys() for sampled in said)
    assert {finding.rule for finding in Run(run).diagnose()} <= {"truncated"}


def test_they_are_in_every_update_of_a_step() -> None:
    call = Call(0, [], None, {}, "stop")

    def group(members: int, expert: bool) -> RolloutGroup:
        rollouts = [
            Rollout("", {}, Trajectory(calls=[call]), expert=expert) for _ in range(members)
        ]
        return RolloutGroup("", {}, rollouts)

    together = interleaved([group(2, False)] * 4, [group(1, True)] * 8)
    for part in split_batch(together, 4):
        assert Counter(r.expert for g in part for r in g.rollouts) == {True: 2, False: 2}


def one(sample: Any) -> list[Rollout]:
    return [Rollout("", dict(sample), Trajectory(), expert=True)]


def test_every_sample_comes_once_an_epoch_and_a_steps_samples_follow_from_its_number() -> None:
    samples = [{"n": n} for n in range(7)]
    steps = {s: [g.task["n"] for g in Experts(samples, one, 3, 5).groups(s)] for s in range(1, 15)}
    drawn = [n for step in steps.values() for n in step]
    for epoch in range(6):
        assert Counter(drawn[7 * epoch : 7 * epoch + 7]) == Counter(range(7))
    assert drawn[:7] != drawn[7:14]
    assert [g.task["n"] for g in Experts(samples, one, 3, 5).groups(9)] == steps[9]
    assert Experts(samples, one, 3, 6).groups(1)[0].id == "step1-expert0"


@pytest.mark.parametrize(("groups", "experts"), [(4, 4), (4, 2), (2, 5), (1, 3), (3, 0)])
def test_they_are_spread_evenly(groups: int, experts: int) -> None:
    def named(name: str, count: int) -> list[RolloutGroup]:
        return [RolloutGroup(f"{name}{i}", {}, []) for i in range(count)]

    ids = [g.id for g in interleaved(named("g", groups), named("e", experts))]
    assert [i for i in ids if i[0] == "g"] == [f"g{i}" for i in range(groups)]
    assert [i for i in ids if i[0] == "e"] == [f"e{i}" for i in range(experts)]
    between = [len(part) for part in "".join(i[0] for i in ids).split("g")[1:]]
    assert max(between) - min(between) <= 1


@pytest.mark.parametrize(
    ("settings", "algorithm", "message"),
    [
        ((), "mix", "mix needs expert data: name a dataset of conversations as buffer.experts"),
        (("buffer.experts.path=x",), "grpo", "grpo has no use for buffer.experts; leave it out"),
        (("algorithm.entropy_loss_fn=mix",), "grpo", "no use for entropy_loss_fn mix"),
        (("buffer.experts.path=nowhere",), "mix", "'nowhere' is neither a file"),
    ],
)
def test_missing_and_useless_expert_data_are_one_sentence(
    settings: tuple[str, ...], algorithm: str, message: str, tiny_model: Path, sums: Path
) -> None:
    with pytest.raises(InputError, match=message):
        tuned(tiny_model, sums, *settings, algorithm=algorithm)


def test_a_bad_conversation_is_named_before_anything_is_loaded(
    tiny_model: Path, sums: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with written.open("a") as file:
        file.write("\n" + json.dumps({"messages": [{"role": "user", "content": "?"}]}))
    monkeypatch.setattr(models, "load_model", None)
    monkeypatch.setattr("agentscope_tuner.build.learner.load_model", None)
    with pytest.raises(InputError, match="Sample 5 of the expert dataset cannot be learnt from"):
        tuned(tiny_model, sums, f"buffer.experts.path={written}")


def trinitys(**more: Any) -> dict[str, Any]:
    buffer = {
        "storage_type": "file",
        "schema_type": "sft",
        "path": "written",
        "split": "train",
        "format": {"prompt_type": "messages", "messages_key": "messages"},
        **more,
    }
    return {
        "model.model_path": "m",
        "buffer.explorer_input.taskset.path": "d",
        "algorithm.algorithm_type": "mix",
        "algorithm.sample_strategy": "mix",
        "algorithm.sample_strategy_args": {"expert_data_ratio": 0.2, "sft_dataset_name": "ours"},
        "buffer.trainer_input.auxiliary_buffers": {"ours": buffer},
    }


def test_trinitys_auxiliary_buffer_is_the_expert_data() -> None:
    experts = resolve(overrides=trinitys()).buffer.experts
    assert (experts.path, experts.split, experts.expert_data_ratio) == ("written", "train", 0.2)
    plain = resolve(overrides=trinitys(format={"prompt_type": "plaintext"})).buffer.experts
    assert plain.fields.messages == ""
    with pytest.raises(InputError, match=r"auxiliary_buffers: .* is not served"):
        resolve(overrides=trinitys(index=3))
