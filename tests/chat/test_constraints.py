"""Forced tool calls and structured output: the samples have the form, their numbers are true."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_parts import ADD, Client, saying, serve
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agentscope_tuner.chat.constraints import grammar_for
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.penalties import Penalties
from agentscope_tuner.trajectory import Trajectory

SUB = {
    "type": "function",
    "function": {
        "name": 'sub "quoted"',
        "parameters": {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/digit"}},
            "$defs": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
}
ANSWER = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"value": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["value"],
            "additionalProperties": False,
        },
    },
}
CALL_ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": -22}}\n</tool_call>'
CALL_SUB = '<tool_call>\n{"name": "sub \\"quoted\\"", "arguments": {"x": 7}}\n</tool_call>'
REQUIRED = {"tools": [ADD, SUB], "tool_choice": "required"}


ll_tokenizer = cache(from_tokenizer)


def accepts(
    tokenizer: PreTrainedTokenizerBase, text: str, fields: dict[str, Any], thinking: Any
) -> bool:
    """Whether `text` and the end of the turn satisfy the request's grammar."""
    body = {"model": "m", "messages": [{"role": "user", "content": "?"}], **fields}
    grammar = grammar_for(
        ChatRequest.model_validate(body), tokenizer, hermes_calls=True, thinking=thinking
    )
    assert grammar is not None
    matcher = LLMatcher(ll_tokenizer(tokenizer), grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    return matcher.validate_tokens(ids) == len(ids)


@pytest.mark.parametrize("model", ["smol", "qwen"])
@pytest.mark.parametrize(
    ("text", "fields", "accepted"),
    [
        (CALL_ADD, REQUIRED, True),
        (CALL_SUB, REQUIRED, True),
        (f"{CALL_ADD}\n{CALL_SUB}", REQUIRED, True),
        (f"{CALL_ADD}\n{CALL_SUB}", {**REQUIRED, "parallel_tool_calls": False}, False),
        ("No.", REQUIRED, False),
        (CALL_ADD.replace("-22", '"two"'), REQUIRED, False),
        (CALL_SUB.replace("7", "77"), REQUIRED, False),
        (
            CALL_ADD,
            {**REQUIRED, "tool_choice": {"type": "function", "function": {"name": "add"}}},
            True,
        ),
        (
            CALL_SUB,
            {**REQUIRED, "tool_choice": {"type": "function", "function": {"name": "add"}}},
            False,
        ),
        ('{"value": 42}', {"response_format": ANSWER}, True),
        ('{"value":   42}', {"response_format": ANSWER}, False),
        ('{"value": 420}', {"response_format": ANSWER}, False),
        ('{"any": ["thing"]}', {"response_format": {"type": "json_object"}}, True),
        ("[1]", {"response_format": {"type": "json_object"}}, False),
        ('{"value": 42}', {"response_format": ANSWER, "tools": [ADD]}, True),
        (CALL_ADD, {"response_format": ANSWER, "tools": [ADD]}, True),
        (CALL_ADD, {"response_format": ANSWER, "tools": [ADD], "tool_choice": "none"}, False),
    ],
)
def test_the_grammar_is_what_was_asked_for(
    model: str, text: str, fields: dict[str, Any], accepted: bool, request: pytest.FixtureRequest
) -> None:
    assert accepts(request.getfixturevalue(model), text, fields, "closed") == accepted


def test_thinking_may_come_first_where_it_is_left_to_the_model(
    qwen: PreTrainedTokenizerBase,
) -> None:
    thought = f"<think>\nHm, {{}} <tool_call>?\n</think>\n\n{CALL_ADD}".replace("<tool_call>?", "?")
    assert accepts(qwen, thought, REQUIRED, "possible")
    assert accepts(qwen, CALL_ADD, REQUIRED, "possible")
    assert not accepts(qwen, thought, REQUIRED, "closed")
    assert accepts(qwen, thought.removeprefix("<think>"), REQUIRED, "open")


async def test_a_model_whose_calls_are_not_read_cannot_be_forced(
    qwen: PreTrainedTokenizerBase,
) -> None:
    service = serve(qwen, saying(qwen, []), tool_call_parser=None)
    service.open("r1")
    response = await Client(service).ask("?", tools=[ADD], tool_choice="required")
    assert response.status_code == 400
    assert "tool_call_parser" in response.json()["error"]["message"]


@pytest.fixture(scope="module")
def tiny_qwen(qwen: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """A Qwen3 with tiny random weights and Qwen3's vocabulary."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(qwen),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).float().eval()


@pytest.fixture(scope="module")
def tiny_llama(tiny_model: Path) -> PreTrainedModel:
    """A Llama with tiny random weights and SmolLM2's vocabulary."""
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture(params=["smol", "qwen"])
async def real(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any, TorchSampler]]:
    """A tokenizer, a random model and the real sampler of it."""
    name = request.param
    model = request.getfixturevalue("tiny_qwen" if name == "qwen" else "tiny_llama")
    tokenizer = request.getfixturevalue(name)
    sampler = TorchSampler(
        model.config, model.state_dict(), tokenizer, dtype=torch.float32, cache_bytes=1 << 22
    )
    yield tokenizer, model, sampler
    await sampler.close()


def assert_true_logprobs(model: PreTrainedModel, trajectory: Trajectory) -> int:
    """Recompute every sampled token's log-probability; returns how many were forced."""
    forced = 0
    for call in trajectory.calls:
        segment = trajectory.segments[call.segment]
        sampled = segment.sampled
        assert sampled is not None
        ids = trajectory.token_ids(call.segment)
        with torch.no_grad():
            logits_TV = model(torch.tensor([ids])).logits[0].double()
        start = len(ids) - len(segment.token_ids)
        for at, token in enumerate(segment.token_ids):
            logits_V = logits_TV[start + at - 1].clone()
            for other in set(ids) | set(dict(sampled.penalties.bias)) if sampled.penalties else ():
                logits_V[other] = penalised(
                    float(logits_V[other]), other, ids[: start + at], start, sampled.penalties
                )
            logits_V /= sampled.temperature
            support = sampled.supports.get(at)
            if support is not None and support.dtype == np.uint8:
                support = np.flatnonzero(np.unpackbits(support, bitorder="little"))
            drawable = logits_V if support is None else logits_V[support.tolist()]
            assert support is None or token in support
            expected = logits_V[token] - drawable.logsumexp(0)
            assert sampled.logprobs[at] == pytest.approx(float(expected), abs=1e-4)
            assert sampled.forced[at] == (len(drawable) == 1)
            forced += sampled.forced[at]
    return forced


async def test_a_random_model_is_held_to_the_form_and_its_logprobs_are_those_it_drew_from(
    real: tuple[Any, Any, TorchSampler],
) -> None:
    tokenizer, model, sampler = real
    service = serve(tokenizer, sampler, enable_thinking=False)
    session = service.open("r1", seed=1)
    client = Client(service)

    structured = await client.message("?", response_format=ANSWER)
    assert 0 <= json.loads(structured["content"])["value"] <= 99

    named = {"type": "function", "function": {"name": SUB["function"]["name"]}}
    response = await client.ask("?", tools=[ADD, SUB], tool_choice=named, temperature=0.7)
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == 'sub "quoted"'
    assert json.loads(call["function"]["arguments"])["x"] in range(10)

    assert session.fault is None
    assert len(session.trajectory.calls) == 2
    assert assert_true_logprobs(model, session.trajectory) > 20


def penalised(
    logit: float, token: int, before: list[int], start: int, penalties: Penalties
) -> float:
    """A token's logit behind the tokens `before`, of which the answer begins at `start`."""
    if token in before:
        logit = logit / penalties.repetition if logit > 0 else logit * penalties.repetition
    count = before[start:].count(token)
    logit -= penalties.frequency * count + penalties.presence * (count > 0)
    return logit + dict(penalties.bias).get(token, 0.0)


async def test_free_answers_have_true_logprobs_too(
    real: tuple[Any, Any, TorchSampler],
) -> None:
    tokenizer, model, sampler = real
    service = serve(tokenizer, sampler)
    session = service.open("r1", seed=2)
    client = Client(service)
    for fields in (
        {},
        {"temperature": 0.5},
        {"top_p": 0.6},
        {"top_k": 7},
        {"min_p": 0.5, "temperature": 0.8},
        {"top_k": 50, "top_p": 0.9, "min_p": 0.001},
        {"repetition_penalty": 1.5, "top_k": 20},
        {"presence_penalty": 1.5, "frequency_penalty": -0.5, "logit_bias": {"5": 3, "6": -4}},
    ):
        await client.message("?", max_tokens=12, **fields)
    assert assert_true_logprobs(model, session.trajectory) < 12 * 8


async def test_a_temperature_next_to_zero_is_greedy_and_recorded_as_zero(
    real: tuple[Any, Any, TorchSampler],
) -> None:
    tokenizer, _, sampler = real
    service = serve(tokenizer, sampler)
    session = service.open("r1", seed=3)
    client = Client(service)
    for fields in (
        {"temperature": 0},
        {"temperature": 1e-40},
        {"temperature": 5e-324, "top_p": 0.5},
    ):
        response = await client.ask("?", max_tokens=6, **fields)
        assert response.status_code == 200
    calls = [session.trajectory.segments[call.segment] for call in session.trajectory.calls]
    assert calls[0].token_ids == calls[1].token_ids == calls[2].token_ids
    for segment in calls:
        assert segment.sampled is not None
        assert segment.sampled.temperature == 0
        assert all(segment.sampled.forced)
