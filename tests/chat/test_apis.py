"""The other APIs, spoken by OpenAI's and Anthropic's own clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest
from chat_parts import ADD, saying, serve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_requests import JSON, mostly
from test_trajectories import assert_faithful
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat.session import Session

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
THOUGHT = "<think>\nHm.\n</think>\n\n"
FUNCTION = {"type": "function", **ADD["function"]}
TOOL = {"name": "add", "description": "Adds.", "input_schema": ADD["function"]["parameters"]}


async def with_openai(session: Session, talk: Callable[[Any], Awaitable[Any]]) -> Any:
    model = session.model
    async with openai.AsyncOpenAI(
        base_url=model.base_url, api_key=model.api_key, max_retries=0
    ) as client:
        return await talk(client)


async def with_anthropic(session: Session, talk: Callable[[Any], Awaitable[Any]]) -> Any:
    model = session.model
    async with anthropic.AsyncAnthropic(
        base_url=model.base_url.removesuffix("/v1"), api_key=model.api_key, max_retries=0
    ) as client:
        return await talk(client)


def open_qwen(qwen: PreTrainedTokenizerBase, *texts: str) -> tuple[ChatService, Session, Any]:
    sampler = saying(qwen, texts)
    service = serve(qwen, sampler)
    return service, service.open("r1"), sampler


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_a_tool_through_responses_is_one_branch(
    stream: bool, qwen: PreTrainedTokenizerBase
) -> None:
    service, session, sampler = open_qwen(qwen, THOUGHT + CALL, THOUGHT + "It is 3.")

    async def ask(client: openai.AsyncOpenAI, items: list[Any]) -> Any:
        fields: Any = {
            "model": "policy",
            "input": items,
            "tools": [FUNCTION],
            "instructions": "Add.",
        }
        if not stream:
            return await client.responses.create(**fields)
        async with client.responses.stream(**fields) as events:
            numbers = [event.sequence_number async for event in events]
            assert numbers == list(range(len(numbers)))
            return await events.get_final_response()

    async def talk(client: openai.AsyncOpenAI) -> Any:
        items: list[Any] = [{"role": "user", "content": "1 + 2?"}]
        asked = await ask(client, items)
        assert [item.type for item in asked.output] == ["reasoning", "function_call"]
        call = asked.output[1]
        assert (call.name, json.loads(call.arguments)) == ("add", {"a": 1, "b": 2})
        items += [item.model_dump(exclude_none=True) for item in asked.output]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "3"})
        return await ask(client, items)

    answer = await with_openai(session, talk)
    assert answer.output_text == "It is 3."
    assert answer.status == "completed"
    assert answer.usage.output_tokens == len(sampler.said[1][1])
    await service.close()
    assert [call.branch for call in session.trajectory.calls] == [None, None]
    assert_faithful(session.trajectory, sampler.said)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_a_tool_through_messages_is_one_branch(
    stream: bool, qwen: PreTrainedTokenizerBase
) -> None:
    service, session, sampler = open_qwen(qwen, THOUGHT + CALL, THOUGHT + "It is 3.")

    async def ask(client: anthropic.AsyncAnthropic, messages: list[Any]) -> Any:
        fields: Any = {
            "model": "policy",
            "max_tokens": 99,
            "system": "Add.",
            "messages": messages,
            "tools": [TOOL],
        }
        if not stream:
            return await client.messages.create(**fields)
        async with client.messages.stream(**fields) as events:
            return await events.get_final_message()

    async def talk(client: anthropic.AsyncAnthropic) -> Any:
        messages: list[Any] = [{"role": "user", "content": "1 + 2?"}]
        asked = await ask(client, messages)
        assert asked.stop_reason == "tool_use"
        assert [block.type for block in asked.content] == ["thinking", "tool_use"]
        use = asked.content[1]
        assert (use.name, use.input) == ("add", {"a": 1, "b": 2})
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "3"}
        said = [block.model_dump(exclude_none=True) for block in asked.content]
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
        return await ask(client, messages)

    answer = await with_anthropic(session, talk)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert (answer.content[1].text, answer.stop_reason) == ("It is 3.", "end_turn")
    assert answer.usage.output_tokens == len(sampler.said[1][1])
    await service.close()
    assert [call.branch for call in session.trajectory.calls] == [None, None]
    assert_faithful(session.trajectory, sampler.said)


async def test_text_arrives_in_pieces_that_add_up(qwen: PreTrainedTokenizerBase) -> None:
    text = "One, two, three."
    service, session, _ = open_qwen(qwen, text, text)

    async def responses(client: openai.AsyncOpenAI) -> list[str]:
        stream = await client.responses.create(model="policy", input="Count.", stream=True)
        return [event.delta async for event in stream if event.type.endswith("text.delta")]

    async def messages(client: anthropic.AsyncAnthropic) -> list[str]:
        question: Any = [{"role": "user", "content": "Count."}]
        async with client.messages.stream(
            model="policy", max_tokens=20, messages=question
        ) as stream:
            return [piece async for piece in stream.text_stream]

    for pieces in (await with_openai(session, responses), await with_anthropic(session, messages)):
        assert len(pieces) > 2
        assert "".join(pieces) == text
    await service.close()


async def test_sampling_parameters_and_ends_are_told_in_each_form(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, ["one END two", "one two three", "one two three"])
    service = serve(smol, sampler)
    session = service.open("r1")
    question: Any = [{"role": "user", "content": "?"}]

    async def messages(client: anthropic.AsyncAnthropic) -> None:
        stopped = await client.messages.create(
            model="policy",
            max_tokens=20,
            messages=question,
            stop_sequences=["END"],
            extra_body={"temperature": 0.5, "top_k": 5},
        )
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")
        assert stopped.content[0].text == "one "
        cut = await client.messages.create(model="policy", max_tokens=2, messages=question)
        assert cut.stop_reason == "max_tokens"

    async def responses(client: openai.AsyncOpenAI) -> None:
        cut = await client.responses.create(
            model="policy", input="?", max_output_tokens=2, top_p=0.5
        )
        assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")

    await with_anthropic(session, messages)
    await with_openai(session, responses)
    await service.close()
    first, _, last = (params for _, params in sampler.asked)
    assert (first.temperature, first.top_k, first.stop) == (0.5, 5, ("END",))
    assert (last.top_p, last.max_tokens) == (0.5, 2)


async def test_a_plain_prompt_is_not_rendered_and_its_answer_is_all_text(
    qwen: PreTrainedTokenizerBase,
) -> None:
    said = f"<think> 2, 3{CALL}"
    service, session, sampler = open_qwen(qwen, said, said, said)
    ids = qwen.encode("Count: 1,")

    async def talk(client: openai.AsyncOpenAI) -> None:
        text = await client.completions.create(model="policy", prompt="Count: 1,", max_tokens=99)
        tokens = await client.completions.create(
            model="policy", prompt=ids, top_p=0.5, max_tokens=99
        )
        for answer in (text, tokens):
            assert answer.choices[0].text == said
            assert answer.usage.prompt_tokens == len(ids)
        stream = await client.completions.create(
            model="policy", prompt="Count: 1, 2,", stream=True, max_tokens=99
        )
        pieces = [chunk.choices[0].text async for chunk in stream]
        assert len(pieces) > 3
        assert "".join(pieces) == said
        with pytest.raises(openai.BadRequestError, match="999999"):
            await client.completions.create(model="policy", prompt=[1, 999999])

    await with_openai(session, talk)
    await service.close()
    assert [prompt for prompt, _ in sampler.said[:2]] == [ids, ids]
    assert_faithful(session.trajectory, sampler.said)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
INPUT_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
ANTHROPIC_IMAGE = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": [IMAGE]}]}, "image_url"),
        ("responses", {"input": [{"role": "user", "content": [INPUT_IMAGE]}]}, "input_image"),
        ("responses", {"input": "?", "previous_response_id": "r"}, "previous_response_id"),
        ("completions", {"prompt": "?", "echo": True}, "echo"),
        ("completions", {"prompt": "?", "suffix": "!"}, "suffix"),
        ("completions", {"prompt": ["one", "two"]}, "prompt"),
        ("completions", {"prompt": "?", "plain_prompt": "!"}, "plain_prompt"),
        ("responses", {"input": "?", "tools": [{"type": "web_search"}]}, "tools"),
        ("responses", {"input": [{"type": "item_reference", "id": "a"}]}, "item_reference"),
        ("responses", {"input": "?", "reasoning": {"effort": "high"}}, "reasoning_effort"),
        (
            "messages",
            {"max_tokens": 9, "messages": [{"role": "user", "content": [ANTHROPIC_IMAGE]}]},
            "image",
        ),
        ("messages", {"messages": [{"role": "user", "content": "?"}]}, "max_tokens"),
        ("messages", [], "no JSON object"),
    ],
)
async def test_what_an_api_does_not_serve_is_refused_by_name(
    path: str, fields: Any, named: str, smol: PreTrainedTokenizerBase
) -> None:
    service = serve(smol, saying(smol, []))
    session = service.open("r1")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.endpoint), base_url="http://endpoint"
    ) as client:
        response = await client.post(
            f"/rollouts/r1/v1/{path}",
            json={"model": "policy", **fields} if isinstance(fields, dict) else fields,
            headers={"x-api-key": session.key},
        )
    assert response.status_code == 400, response.text
    assert named in response.json()["error"]["message"]
    assert (session.trajectory.segments, session.fault) == ([], None)


async def test_anthropics_client_is_told_errors_in_its_form(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, []))
    session = service.open("r1")

    async def talk(client: anthropic.AsyncAnthropic) -> None:
        with pytest.raises(anthropic.NotFoundError, match="does not exist"):
            await client.messages.create(
                model="other", max_tokens=1, messages=[{"role": "user", "content": "?"}]
            )

    await with_anthropic(session, talk)
    await service.close()


async def test_no_reasoning_effort_is_no_thinking(qwen: PreTrainedTokenizerBase) -> None:
    service, session, sampler = open_qwen(qwen, "Yes.", "Yes.")

    async def responses(client: openai.AsyncOpenAI) -> None:
        await client.responses.create(model="policy", input="?", reasoning={"effort": "none"})

    async def messages(client: anthropic.AsyncAnthropic) -> None:
        await client.messages.create(
            model="policy",
            max_tokens=9,
            messages=[{"role": "user", "content": "?"}],
            thinking={"type": "disabled"},
        )

    await asyncio.gather(with_openai(session, responses), with_anthropic(session, messages))
    await service.close()
    for prompt, _ in sampler.said:
        assert qwen.decode(prompt).endswith("<think>\n\n</think>\n\n")


ITEMS = mostly(
    st.lists(
        mostly(
            st.fixed_dictionaries(
                {},
                optional={
                    "type": mostly(st.sampled_from(["message", "function_call", "reasoning"])),
                    "role": mostly(st.sampled_from(["user", "assistant", "system"])),
                    "content": mostly(st.text(max_size=9)),
                    "call_id": mostly(st.text(max_size=4)),
                    "name": mostly(st.text(max_size=4)),
                    "arguments": mostly(st.text(max_size=4)),
                },
            )
        ),
        max_size=3,
    )
)
BODIES = {
    "responses": {"input": ITEMS, "instructions": mostly(st.text(max_size=4))},
    "messages": {"messages": ITEMS, "system": mostly(st.text(max_size=4))},
    "completions": {"prompt": mostly(st.text(max_size=9)), "echo": JSON, "logit_bias": JSON},
}


@pytest.mark.parametrize("path", BODIES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_posted_is_answered_or_refused(
    path: str, data: st.DataObject, smol: PreTrainedTokenizerBase
) -> None:
    fields = {"stream": st.booleans(), "max_tokens": mostly(st.integers(1, 9)), **BODIES[path]}
    body = {"model": "policy", **data.draw(st.fixed_dictionaries({}, optional=fields))}

    async def run() -> None:
        service = serve(smol, saying(smol, ["a <b"]))
        session = service.open("r1")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(service.endpoint), base_url="http://endpoint"
        ) as client:
            headers = {"x-api-key": session.key}
            content = json.dumps(body).encode()  # with NaN, which JSON has not
            response = await client.post(
                f"/rollouts/r1/v1/{path}", content=content, headers=headers
            )
        assert response.status_code < 500, response.text
        assert session.fault is None
        assert len(session.trajectory.calls) == (response.status_code == 200)

    asyncio.run(run())
