"""Rollouts of real agents through the real chat service; only the sampler is scripted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentscope_tuner.chat.served import serve_model
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.runs.rollouts import read_rollouts, write_rollouts
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the two of ChatML."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


class ScriptedSampler:
    """Answers by what the prompt asks for."""

    version = 0
    max_model_len = 400

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.running = 0

    async def sample(
        self, prompt_ids: list[int], params: SamplingParams, on_token: Any = None
    ) -> Completion:
        prompt = self.tokenizer.decode(prompt_ids)
        self.running += 1
        try:
            if "hang" in prompt:
                await asyncio.sleep(60)
            if "crash" in prompt:
                raise AssertionError("the sampler lost a page")
        finally:
            self.running -= 1
        text = "" if "silence" in prompt else "it is 4"
        ids = [*self.tokenizer.encode(text), self.tokenizer.eos_token_id]
        return Completion(ids, [-0.5] * len(ids), [False] * len(ids), {}, "stop", self.version)

    async def load_weights(self, weights: Any, version: int) -> None: ...

    async def close(self) -> None: ...


async def run_react_agent(task: dict, model: Any, auxiliary_models: dict) -> WorkflowOutput:
    agent = ReActAgent("agent", "You are terse.", model, OpenAIChatFormatter())
    return WorkflowOutput(response=await agent(Msg("user", task["question"], "user")))


async def judge_function(task: dict, response: Msg) -> JudgeOutput:
    return JudgeOutput(reward=1.0 if "4" in response.get_text_content() else 0.0)


@pytest.fixture
def sampler() -> ScriptedSampler:
    return ScriptedSampler(byte_tokenizer())


@pytest.fixture
def service(sampler) -> ChatService:
    return ChatService(serve_model("policy", sampler, sampler.tokenizer, max_tokens=32))


async def test_good_and_bad_rollouts_of_one_batch_come_back_side_by_side(
    service, sampler, tmp_path
):
    runner = RolloutRunner(service, run_react_agent, judge_function, timeout_s=2.0)
    questions = ["2 + 2?", "hang", "silence", "long " * 100]
    tasks = [{"question": question} for question in questions]
    groups = await runner.run_groups(tasks, 4, label="step1", seed=0)

    good, late, silent, overlong = (group.rollouts[0] for group in groups)
    assert good.reward == 1.0
    assert good.response == "it is 4"
    assert good.trajectory.sampled_tokens == len("it is 4") + 1
    assert late.error.kind == "timeout"
    assert silent.error.kind == "judge"
    assert "TypeError" in silent.error.message
    assert overlong.error.kind == "workflow"
    assert overlong.error.message.startswith("BadRequestError: This model's maximum context length")
    assert overlong.trajectory.overflows == 1
    assert sampler.running == 0, "the requests of late rollouts are cancelled"
    assert summarize(groups)["rollout/failed"] == 12

    write_rollouts(tmp_path / "r", groups)
    assert read_rollouts(tmp_path / "r") == [r for group in groups for r in group.rollouts]


async def test_a_crash_of_the_sampler_stops_the_run_instead_of_counting_as_a_failure(
    service, sampler
):
    runner = RolloutRunner(service, run_react_agent, judge_function)
    tasks = [{"question": "hang"}, {"question": "crash"}]
    with pytest.raises(AssertionError, match="lost a page"):
        await runner.run_groups(tasks, 4, label="step1", seed=0)
    await asyncio.sleep(0)
    assert sampler.running == 0
