"""What the endpoint honours, and how it refuses everything else: by name, in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from chat_parts import ADD, Client, ScriptedSampler, saying, serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

USER = {"role": "user", "content": "Hi."}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def assert_refused(response: Any, *named: str, status: int = 400) -> None:
    """A 4xx in OpenAI's form whose message names what is wrong."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    for name in named:
        assert name in error["message"]


async def test_content_may_be_text_parts_or_null(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, ["ok"])
    service = serve(smol, sampler)
    session = service.open("r1")
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "Ann", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "3"},
    ]
    await Client(service).message(messages, user="me", metadata={"a": "b"}, presence_penalty=0)
    prompt = smol.decode(sampler.said[0][0])
    assert "system\nBe brief." in prompt
    assert "one\ntwo" in prompt
    assert '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>' in prompt
    assert "<tool_response>\n3\n</tool_response>" in prompt
    assert session.trajectory.calls[0].messages[0]["role"] == "system"


async def test_sampling_fields_reach_the_sampler(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, ["ok"] * 5)
    service = serve(smol, sampler, max_tokens=99, temperature=0.7, top_p=0.9)
    service.open("r1")
    client = Client(service)
    await client.message("?")
    await client.message("?", max_tokens=5, temperature=0, top_p=0.5, stop="x")
    await client.message("?", max_completion_tokens=6, stop=["y", "z"], logprobs=True)
    await client.message("?", max_tokens=100_000, logprobs=True, top_logprobs=4)
    defaults, first, second, third = (params for _, params in sampler.asked)
    assert (defaults.max_tokens, defaults.temperature, defaults.top_p) == (99, 0.7, 0.9)
    assert (first.max_tokens, first.temperature, first.top_p) == (5, 0, 0.5)
    assert (first.stop, second.stop, second.max_tokens) == (("x",), ("y", "z"), 6)
    assert (second.top_logprobs, third.top_logprobs) == (0, 4)
    room = sampler.max_model_len - len(sampler.asked[3][0])
    assert third.max_tokens == room
    assert defaults.stop_token_ids == (smol.eos_token_id,)


async def test_an_answer_carries_what_was_asked_for(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, ["one END two"])
    service = serve(smol, sampler)
    service.open("r1")
    response = await Client(service).ask(
        "?", stop="END", logprobs=True, top_logprobs=2, return_token_ids=True
    )
    body = response.json()
    prompt_ids, sampled = sampler.said[0]
    choice = body["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "one "}
    assert (body["prompt_token_ids"], choice["token_ids"]) == (prompt_ids, sampled)
    assert body["usage"]["total_tokens"] == len(prompt_ids) + len(sampled)
    logprobs = choice["logprobs"]["content"]
    assert "".join(one["token"] for one in logprobs) == smol.decode(sampled)
    assert logprobs[0]["logprob"] == -0.125
    assert len(logprobs[0]["top_logprobs"]) == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"min_p": 2}, "min_p"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"999999": 1}}, "999999"),
        ({"best_of": 3}, "best_of"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"tool_choice": "required"}, "tools"),
        ({"tools": [ADD], "tool_choice": "sometimes"}, "tool_choice"),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "sub",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "nonsense"}},
                }
            },
            "response_format",
        ),
        ({"chat_template_kwargs": {"mood": "sunny"}}, "mood"),
        ({"chat_template_kwargs": {"add_generation_prompt": False}}, "add_generation_prompt"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(
    fields: dict[str, Any], named: str, smol: PreTrainedTokenizerBase
) -> None:
    service = serve(smol, saying(smol, []))
    session = service.open("r1")
    assert_refused(await Client(service).ask("?", **fields), named)
    assert session.trajectory.segments == []
    assert session.fault is None


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "messages"),
        (["hello"], "messages.0"),
        ([{"role": "robot", "content": "?"}], "role"),
        ([{"content": "?"}], "role"),
        ([{"role": "user", "content": 5}], "content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "image_url"),
        ([{**USER, "mood": "sunny"}], "mood"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "x"}]}], "tool_calls"),
        ([USER, {"role": "tool", "content": "3"}], "tool_call_id"),
        ([USER, {"role": "assistant", "content": None, "audio": {"id": "x"}}], "audio"),
    ],
)
async def test_malformed_messages_are_refused_by_name(
    messages: Any, named: str, smol: PreTrainedTokenizerBase
) -> None:
    service = serve(smol, saying(smol, []))
    service.open("r1")
    assert_refused(await Client(service).ask(messages), named)


async def test_an_unknown_model_route_or_rollout_is_a_404(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, []))
    service.open("r1")
    client = Client(service)
    body = {"model": "gpt-9", "messages": [USER]}
    assert_refused(await client.raw(json=body), "gpt-9", "policy", status=404)
    assert_refused(await Client(service, "r2").ask("?"), "r2", status=404)
    assert_refused(await Client(service, "r1/nowhere").ask("?"), "not served", status=404)


async def test_bodies_that_are_no_json_or_too_long_are_refused(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, ["ok"]))
    service.open("r1")
    client = Client(service)
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model": "\\ud800"}', b"null"):
        assert_refused(await client.raw(content=content))
    assert_refused(await client.raw(content=b" " * (16 * 1024 * 1024 + 1)), status=413)
    await client.message("still alive?")


async def test_a_context_overflow_is_a_400_and_counted(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, ["ok"], max_model_len=64))
    session = service.open("r1")
    response = await Client(service).ask("long " * 100)
    assert_refused(response, "64 tokens")
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert session.trajectory.overflows == 1
    assert session.trajectory.truncated
    assert session.trajectory.calls == []


async def test_a_prompt_may_be_as_long_as_configured_and_no_longer(
    smol: PreTrainedTokenizerBase,
) -> None:
    free, question = serve(smol, saying(smol, ["ok"])), {"role": "user", "content": "How long?"}
    probe = free.open("r1")
    await Client(free).message([question])
    length = len(probe.trajectory.segments[0].token_ids)

    service = serve(smol, saying(smol, ["ok"]), max_prompt_tokens=length)
    session = service.open("r1")
    await Client(service).message([question])
    response = await Client(service).ask([{**question, "content": "How long? longer"}])
    assert_refused(response, f"prompt length is {length} tokens")
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert session.trajectory.overflows == 1
    assert len(session.trajectory.calls) == 1


async def test_a_fault_of_the_sampler_is_a_500_and_remembered(
    smol: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(prompt_ids: list[int], params: Any) -> list[int]:
        raise AssertionError("a page was lost")

    service = serve(smol, ScriptedSampler(fail))
    session = service.open("r1")
    response = await Client(service).ask("?")
    assert response.status_code == 500
    assert "a page was lost" in response.json()["error"]["message"]
    assert isinstance(session.fault, AssertionError)
    assert session.trajectory.segments == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3)
    ),
    max_leaves=6,
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "", None])


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A plausible value, or anything."""
    return st.one_of(good, good, good, JSON)


CALLS = st.lists(
    mostly(
        st.fixed_dictionaries(
            {
                "id": mostly(st.text(max_size=4)),
                "type": mostly(st.just("function")),
                "function": mostly(
                    st.fixed_dictionaries(
                        {"name": mostly(st.just("add")), "arguments": mostly(st.text(max_size=9))}
                    )
                ),
            }
        )
    ),
    max_size=2,
)
MESSAGES = st.lists(
    mostly(
        st.fixed_dictionaries(
            {"role": mostly(ROLES)},
            optional={
                "content": mostly(st.text(max_size=20)),
                "name": mostly(st.text(max_size=4)),
                "tool_calls": mostly(CALLS),
                "tool_call_id": mostly(st.text(max_size=4)),
                "reasoning_content": mostly(st.text(max_size=9)),
            },
        )
    ),
    max_size=4,
)
SCHEMAS = st.fixed_dictionaries(
    {}, optional={"type": JSON, "properties": JSON, "$ref": JSON, "enum": JSON, "x": JSON}
)
REQUESTS = st.fixed_dictionaries(
    {"model": mostly(st.just("policy")), "messages": mostly(MESSAGES)},
    optional={
        "tools": mostly(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "type": mostly(st.just("function")),
                        "function": mostly(
                            st.fixed_dictionaries(
                                {"name": mostly(st.text(max_size=4)), "parameters": mostly(SCHEMAS)}
                            )
                        ),
                    }
                ),
                max_size=2,
            )
        ),
        "tool_choice": mostly(st.sampled_from(["auto", "none", "required"])),
        "response_format": mostly(
            st.fixed_dictionaries(
                {
                    "type": mostly(st.just("json_schema")),
                    "json_schema": mostly(
                        st.fixed_dictionaries({"name": st.text(), "schema": mostly(SCHEMAS)})
                    ),
                }
            )
        ),
        "n": mostly(st.integers(1, 3)),
        "seed": mostly(st.integers()),
        "stop": mostly(st.text(max_size=3)),
        "stream": mostly(st.booleans()),
        "logprobs": mostly(st.booleans()),
        "max_tokens": mostly(st.integers(1, 9)),
        "chat_template_kwargs": mostly(st.dictionaries(st.text(max_size=5), JSON, max_size=2)),
        "temperature": mostly(st.floats(0, 2)),
    },
)


@pytest.mark.parametrize("model", ["smol", "qwen"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=REQUESTS)
def test_whatever_is_posted_the_server_lives_and_records_only_what_it_answered(
    model: str, body: Any, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(model)

    async def run() -> None:
        sampler = ScriptedSampler(
            lambda ids, params: [*tokenizer.encode("a <b"), tokenizer.eos_token_id]
        )
        service = serve(tokenizer, sampler)
        session = service.open("r1")
        response = await Client(service).raw(content=json.dumps(body).encode())
        assert session.fault is None
        assert len(session.trajectory.calls) == len(sampler.said)
        if response.status_code == 200:
            assert sampler.said
        else:
            assert_refused(response, status=response.status_code)
            assert 400 <= response.status_code < 500
            assert session.trajectory.segments == []

    asyncio.run(run())
