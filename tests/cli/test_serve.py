"""`astuner serve` and `astuner chat`: the model of a run by itself."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from command_line import Astuner
from openai import AsyncOpenAI, AuthenticationError

from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.engine.serving import OpenAI, serving, settings_of

ASKED = [{"role": "user", "content": "1 + 1 ="}]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "boolean"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


@asynccontextmanager
async def served(source: Path, key: str = "k") -> AsyncIterator[tuple[ChatService, AsyncOpenAI]]:
    """OpenAI's own client of what `astuner serve` serves."""
    name, settings = settings_of(str(source))
    async with serving(name, settings) as service:
        transport = httpx.ASGITransport(OpenAI(service, "k"))
        async with httpx.AsyncClient(transport=transport) as http:
            yield service, AsyncOpenAI(base_url="http://x/v1", api_key=key, http_client=http)


async def test_openais_client_chats_streams_and_lists(tuned: Path) -> None:
    async with served(tuned) as (service, client):
        assert [model.id async for model in client.models.list()] == ["first"]
        asked = {"model": "first", "messages": ASKED, "seed": 1}
        whole = await client.chat.completions.create(**asked)
        assert whole.usage is not None
        assert 0 < whole.usage.completion_tokens <= 8  # the run's own max_tokens
        stream = await client.chat.completions.create(**asked, stream=True)
        parts = [c.choices[0].delta.content or "" async for c in stream if c.choices]
        assert "".join(parts) == whole.choices[0].message.content
        assert service.sessions == {}


async def test_tools_are_served(tuned: Path) -> None:
    async with served(tuned) as (_, client):
        answer = await client.chat.completions.create(
            model="first", messages=ASKED, tools=[ADD], tool_choice="required", max_tokens=64
        )
    [call, *_] = answer.choices[0].message.tool_calls or []
    assert call.function.name == "add"
    assert call.function.arguments.replace(" ", "") in ('{"a":true}', '{"a":false}')


async def test_without_the_key_there_is_no_answer(tuned: Path) -> None:
    async with served(tuned, key="another") as (service, client):
        with pytest.raises(AuthenticationError, match="The key is missing or wrong"):
            await client.chat.completions.create(model="first", messages=ASKED)
        assert service.sessions == {}


def test_a_checkpoint_is_sampled_as_in_its_run_and_a_model_as_it_is(
    tuned: Path, tiny_model: Path
) -> None:
    name, settings = settings_of(str(tuned / "global_step_2"))
    assert (name, settings.max_model_len, settings.max_response_tokens) == ("first", 256, 8)
    assert settings.model_path.endswith("global_step_2")
    _, plain = settings_of(str(tiny_model))
    assert plain.max_model_len is None


def test_a_port_that_is_taken_is_told_in_a_sentence(astuner: Astuner, tuned: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = astuner("serve", tuned, "--port", str(taken.getsockname()[1]))
    assert ended.code == 2
    assert "choose another --port" in " ".join(ended.err.split())


def test_two_models_answer_beside_each_other_until_the_input_ends(
    astuner: Astuner, tuned: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["1 + 1 =", "", "and 2?"])

    def line(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", line)
    ended = astuner("chat", tuned, "--against", tiny_model)
    assert ended.code == 0, ended.err
    assert ended.out.count(" first ") == 2
    assert ended.out.count("╭") == 4
