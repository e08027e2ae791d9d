"""A streamed answer is the whole answer in pieces, and the pieces come as early as they can."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from chat_parts import ADD, Client, ScriptedSampler, saying, serve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.streaming import DeltaReader

PIECES = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            '\n{"name": "add", "arguments": {"a": 1}}\n',
            "{broken",
            "<tool",
            "_call>",
            "<",
            " ",
            "\n\n",
            "word",
            "END",
            "E",
            "你好",
            "🎉",
            "�",
        ]
    ),
    max_size=9,
)


def events(body: str) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it should."""
    lines = [line.removeprefix("data: ") for line in body.strip().split("\n\n")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that the deltas add up to."""
    message: dict[str, Any] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for part, piece in choice["delta"].items():
                message[part] = message[part] + piece if part in message else piece
    for call in message.get("tool_calls", ()):
        call.pop("index")
    return message


@pytest.mark.parametrize("model", ["smol", "qwen"])
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=PIECES,
    split=st.booleans(),
    parsers=st.tuples(st.sampled_from(["hermes", None]), st.sampled_from(["deepseek_r1", None])),
    limit=st.integers(1, 60),
    tools=st.booleans(),
    stop=st.sampled_from([None, "END", "\n"]),
)
@example(  # the first character is shown only when the tag is there already
    pieces=["\ufffd", "<think>"],
    split=False,
    parsers=("hermes", "deepseek_r1"),
    limit=2,
    tools=False,
    stop=None,
)
def test_the_pieces_add_up_to_the_message(
    model: str,
    pieces: list[str],
    split: bool,
    parsers: tuple[str | None, str | None],
    limit: int,
    tools: bool,
    stop: str | None,
    request: pytest.FixtureRequest,
) -> None:
    tokenizer = request.getfixturevalue(model)
    encode = tokenizer.encode
    ids = (
        [token for piece in pieces for token in encode(piece, add_special_tokens=False)]
        if split
        else encode("".join(pieces), add_special_tokens=False)
    )

    async def run() -> None:
        sampler = ScriptedSampler(lambda *_: [*ids, tokenizer.eos_token_id])
        tool_call_parser, reasoning_parser = parsers
        service = serve(
            tokenizer,
            sampler,
            tool_call_parser=tool_call_parser,
            reasoning_parser=reasoning_parser,
        )
        fields: dict[str, Any] = {"max_tokens": limit}
        if stop is not None:
            fields["stop"] = stop
        if tools and (tool_call_parser or model == "qwen"):
            fields["tools"] = [ADD]
        answers = []
        for stream in (False, True):
            session = service.open("r1")
            response = await Client(service).ask("?", stream=stream, **fields)
            assert session.fault is None
            answers.append(response)
            session.close()
        choice = answers[0].json()["choices"][0]
        chunks = events(answers[1].text)
        streamed = joined(chunks)
        whole = {**choice["message"], "content": choice["message"]["content"] or ""}
        assert streamed == whole
        assert chunks[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]

    asyncio.run(run())


def test_text_is_shown_token_by_token_but_never_half_a_character(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, [])
    renderer = serve(smol, sampler).policy.renderer
    reader = DeltaReader(smol, renderer.stream_rules([1], tools=True), (2,), ())
    ids = smol.encode("Let us see: 🎉 <tool_call>", add_special_tokens=False)
    shown = [[delta["content"] for delta in reader.push(token)] for token in ids]
    assert shown[:3] == [["Let"], [" us"], [" see"]]
    flat = [piece for pieces in shown for piece in pieces]
    assert "".join(flat) == "Let us see: 🎉"
    assert not any("�" in piece for piece in flat)


async def test_usage_comes_last_if_it_was_asked_for(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, ["a", "b"]))
    service.open("r1")
    client = Client(service)
    asked = await client.ask("?", stream=True, stream_options={"include_usage": True})
    *_, end = events(asked.text)
    assert (end["choices"], end["usage"]["completion_tokens"]) == ([], 2)
    assert "audio" not in asked.text
    plain = events((await client.ask("?", stream=True)).text)
    assert all("usage" not in chunk for chunk in plain)


async def test_a_client_that_goes_away_ends_the_sampling(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, ["never"] * 2, delay=lambda: 60.0)
    service = serve(smol, sampler)
    session = service.open("r1")
    for stream in (False, True):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Client(service).ask("?", stream=stream), 0.05)
    await asyncio.sleep(0.01)
    assert sampler.cancelled == 2
    assert session.trajectory.segments == []
