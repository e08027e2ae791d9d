"""The guide's program, tuned at a Tinker service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from openai import BadRequestError
from small_tinker import Service

from agentscope_tuner import (
    AlgorithmConfig,
    Callback,
    DatasetConfig,
    JudgeOutput,
    TinkerConfig,
    TuneResult,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.commands.looking import evaluate
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.loading import load_tokenizer
from agentscope_tuner.inference.tinker_service import SavedAtService
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

STEPS, TASKS, GROUP = 2, 2, 3


refusals: list[str] = []
"""What the agent was told when it asked for what is not served."""


async def run_react_agent(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    try:
        await model([{"role": "user", "content": task["question"]}], temperature=0.5)
    except BadRequestError as error:
        refusals.append(str(error))
    agent = ReActAgent(
        name="react_agent",
        sys_prompt="You are a helpful math problem solving agent.",
        model=model,
        formatter=OpenAIChatFormatter(),
    )
    response = await agent.reply(msg=Msg("user", task["question"], role="user"))
    return WorkflowOutput(response=response)


async def judge_length(task: dict[str, Any], response: Msg) -> JudgeOutput:
    """Something that every sample answers differently, so that every group teaches."""
    return JudgeOutput(reward=len(response.get_text_content() or "") / 100)


Run = Callable[..., TuneResult]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tasks")
    for split in ("train", "test"):
        lines = [json.dumps({"question": f"{n} + 1 ="}) for n in range(4)]
        (directory / f"{split}.jsonl").write_text("\n".join(lines))
    return directory


@pytest.fixture(scope="module")
def run(
    service: Service, tiny_model: Path, tasks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    root = tmp_path_factory.mktemp("runs")

    def tuned(
        name: str, *, steps: int = STEPS, max_tokens: int = 8, **arguments: Any
    ) -> TuneResult:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            return tune(
                **(
                    {
                        "workflow_func": run_react_agent,
                        "judge_func": judge_length,
                        "algorithm": AlgorithmConfig(
                            group_size=GROUP, batch_size=TASKS, learning_rate=1e-3
                        ),
                    }
                    | arguments
                ),
                model=TunerModelConfig(
                    model_path=str(tiny_model),
                    max_model_len=256,
                    max_tokens=max_tokens,
                    tinker_config=TinkerConfig(rank=4, base_url=service.url),
                ),
                train_dataset=DatasetConfig(path=str(tasks), split="train", total_steps=steps),
                experiment_name=name,
            )

    return tuned


@pytest.fixture(scope="module")
def result(run: Run) -> TuneResult:
    return run("guide")


def test_what_is_learnt_is_what_was_sampled(result: TuneResult) -> None:
    assert result.finished
    assert result.metrics["rollout/count"] == TASKS * GROUP
    assert result.metrics["rollout/failed"] == 0
    assert result.metrics["train/tokens"] > 0
    assert abs(result.metrics["policy/kl_sampler_learner"]) < 1e-6
    assert result.metrics["policy/ratio_mean"] == pytest.approx(1, abs=1e-4)


def test_an_agent_is_told_what_it_asks_and_the_service_does_not_serve(result: TuneResult) -> None:
    assert len(refusals) >= STEPS * TASKS * GROUP
    assert "does not serve temperature 0.5" in refusals[0]


GUESS = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["number"],
}
TOOL = {"type": "function", "function": {"name": "guess", "parameters": GUESS}}


async def guess(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    answer = await model(
        [{"role": "user", "content": task["question"]}], tools=[TOOL], tool_choice="guess"
    )
    [call] = [block for block in answer.content if block["type"] == "tool_use"]
    assert call["name"] == "guess"
    return WorkflowOutput(reward=float(call["input"]["number"]))


def test_forced_calls_are_made_and_learnt_from_under_their_own_distribution(run: Run) -> None:
    result = run(
        "forced",
        steps=1,
        max_tokens=48,
        workflow_func=guess,
        judge_func=None,
        algorithm=AlgorithmConfig(group_size=2, batch_size=1),
    )
    assert result.metrics["rollout/failed"] == 0
    assert result.metrics["reward/max"] <= 99
    assert abs(result.metrics["policy/kl_sampler_learner"]) < 1e-6
    assert result.metrics["policy/ratio_max"] == pytest.approx(1, abs=1e-3)
    [one, other] = read_rollouts(rollouts_path(result.run_directory, 1))
    assert one.answer != other.answer or one.reward != other.reward
    sampled = one.trajectory.segments[1].sampled
    assert sampled is not None
    assert sum(sampled.forced) > 5


def test_its_rollouts_are_recorded_token_by_token_with_the_version_of_their_weights(
    result: TuneResult, tiny_model: Path
) -> None:
    tokenizer = load_tokenizer(tiny_model)
    for step in range(STEPS):
        for rollout in read_rollouts(rollouts_path(result.run_directory, step + 1)):
            prompt, answer = rollout.trajectory.segments[:2]
            assert "helpful math" in tokenizer.decode(prompt.token_ids)
            assert answer.sampled is not None
            assert answer.sampled.version == step
            assert len(answer.sampled.logprobs) == len(answer.token_ids) <= 8


def test_the_weights_stay_at_the_service_and_the_checkpoint_says_where(
    result: TuneResult, service: Service
) -> None:
    assert result.checkpoint is not None
    saved = SavedAtService.read(result.checkpoint)
    assert saved is not None
    assert {saved.state, saved.sampler} <= service.saved.keys()
    assert any(weight.any() for name, weight in service.saved[saved.state].weights.items())
    with pytest.raises(InputError, match="has no weights: they are at a Tinker service"):
        ModelFiles.find(str(result.checkpoint))
    card = (result.checkpoint / "README.md").read_text()
    assert "library_name" not in card
    assert "`tuner_state/tinker.json`" in card


class FailsAtOnce(Callback):
    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        raise RuntimeError("after the first step")


def test_a_run_goes_on_as_if_it_had_not_been_interrupted(run: Run, result: TuneResult) -> None:
    with pytest.raises(RuntimeError, match="after the first step"):
        run("halves", callbacks=[FailsAtOnce()])
    resumed = run("halves", resume=True)
    same = ("reward/mean", "policy/loss", "train/tokens")
    assert {name: resumed.metrics[name] for name in same} == pytest.approx(
        {name: result.metrics[name] for name in same}
    )


def test_a_tuned_model_is_evaluated_beside_the_one_it_was(
    result: TuneResult, tasks: Path, tiny_model: Path
) -> None:
    held_out = {"name": "test", "path": str(tasks), "split": "test"}
    config = resolve(
        config_path=result.run_directory / "config.yaml",
        overrides={"buffer.explorer_input.eval_tasksets": [held_out]},
    )
    models = [str(result.run_directory), str(tiny_model)]
    scores = asyncio.run(
        evaluate(
            config,
            workflow_func=run_react_agent,
            judge_func=judge_length,
            success=1.0,
            models=models,
        )
    )
    rollouts = [
        [rollout for group in model.scores[0].groups for rollout in group.rollouts]
        for model in scores.models
    ]
    tuned, untuned = (
        [one.trajectory.segments[1].sampled.logprobs for one in of_model] for of_model in rollouts
    )
    assert len(tuned) == len(untuned) == 4
    assert tuned != untuned
