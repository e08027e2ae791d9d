"""ppo with its critic, from the configuration to the record, with tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from agentscope.model import ChatModelBase
from safetensors.torch import load_file

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, WorkflowOutput, tune
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from agentscope_tuner.tuning import Invocation, invoked_as


async def answer(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Two calls, each with a reward of its own."""
    texts = []
    for turn in (task["question"], "Are you sure?"):
        response = await model([{"role": "user", "content": turn}])
        texts.append(response.content[0]["text"] if response.content else "")
    rewards = [len(set(text)) / 10 for text in texts]
    return WorkflowOutput(reward=sum(rewards), step_rewards=rewards)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tuned(model: Path, data: Path, *settings: str, algorithm: str = "ppo") -> TuneResult:
    with invoked_as(Invocation(settings=["deterministic=true", *settings])):
        return tune(
            workflow_func=answer,
            model=TunerModelConfig(model_path=str(model), max_model_len=128, max_tokens=6),
            train_dataset=DatasetConfig(path=str(data), total_steps=2),
            algorithm=AlgorithmConfig(
                algorithm_type=algorithm,
                group_size=1,
                batch_size=3,
                learning_rate=1e-3,
                save_interval_steps=1,
            ),
            monitor_type="none",
        )


def test_each_token_has_a_value_a_return_and_an_advantage(tiny_model: Path, sums: Path) -> None:
    result = tuned(tiny_model, sums, "algorithm.critic.optimizer.lr=1e-2")
    second = read_rollouts(rollouts_path(result.run_directory, 2))
    for rollout in second:
        for segment in rollout.trajectory.sampled_segments():
            trained = segment.sampled.trained()
            for name in ("value", "return", "advantage"):
                column = torch.tensor(segment.sampled.columns[name])[trained]
                assert column.isfinite().all()
                assert name == "return" or len(column.unique()) > 1
    records = read_metrics(result.run_directory / "metrics.jsonl")
    assert records[0]["critic/value"] == 0
    assert records[1]["critic/value"] != 0
    assert {"critic/loss", "critic/explained_variance", "critic/lr"} <= records[1].keys()


def test_a_warm_up_trains_the_critic_alone(tiny_model: Path, sums: Path) -> None:
    result = tuned(tiny_model, sums, "trainer.critic_warmup=1")
    first, second = read_metrics(result.run_directory / "metrics.jsonl")
    assert "policy/loss" not in first
    assert first["critic/grad_norm"] > 0
    assert second["policy/grad_norm"] > 0
    start = load_file(tiny_model / "model.safetensors")
    for step, moved in ((1, False), (2, True)):
        saved = load_file(result.run_directory / f"global_step_{step}" / "model.safetensors")
        assert any(not torch.equal(saved[name], start[name]) for name in saved) is moved


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.critic_warmup=3",
        "model.critic_model_path=somewhere",
        "algorithm.critic.cliprange_value=0.2",
        "algorithm.critic.optimizer.lr=0.1",
    ],
)
def test_what_is_said_of_a_critic_is_refused_where_there_is_none(
    setting: str, tiny_model: Path, sums: Path
) -> None:
    key = ".".join(setting.partition("=")[0].split(".")[:2])
    with pytest.raises(InputError, match=f"reinforceplusplus has no use for {key}; leave it out"):
        tuned(tiny_model, sums, setting, algorithm="reinforceplusplus")


def test_trinitys_keys_of_the_critic_take_effect() -> None:
    critic = {"cliprange_value": 0.2, "optim": {"lr": 3e-5, "lr_warmup_steps": 7}}
    config = resolve(
        overrides={
            "model.model_path": "m",
            "buffer.explorer_input.taskset.path": "d",
            "trainer.trainer_config": {"critic": critic, "actor_rollout_ref": {"x": 1}},
            "trainer.critic_warmup": 5,
            "model.critic_model_path": "c",
        }
    )
    ours = config.algorithm.critic
    assert (ours.cliprange_value, ours.optimizer.lr, ours.optimizer.lr_warmup_steps) == (
        *(0.2, 3e-5, 7),
    )
    assert (config.trainer.critic_warmup, config.model.critic_model_path) == (5, "c")


def test_remax_draws_a_greedy_rollout_beside_every_group(tiny_model: Path, sums: Path) -> None:
    remax = "algorithm.advantage_fn=remax"
    result = tuned(tiny_model, sums, remax, algorithm="reinforceplusplus")
    rollouts = read_rollouts(rollouts_path(result.run_directory, 1))
    assert len(rollouts) == 3
    for rollout in rollouts:
        advantages = torch.tensor(
            [
                a
                for s in rollout.trajectory.sampled_segments()
                for a in s.sampled.columns["advantage"]
            ]
        )
        first = advantages[advantages.isfinite()][0].item()
        expected = rollout.reward - rollout.metrics["greedy/reward"]
        assert first == pytest.approx(expected, abs=1e-5)
    again = tuned(tiny_model, sums, remax, algorithm="reinforceplusplus")
    for one, other in zip(
        rollouts, read_rollouts(rollouts_path(again.run_directory, 1)), strict=True
    ):
        assert one.metrics["greedy/reward"] == other.metrics["greedy/reward"]
