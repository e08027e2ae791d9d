"""The endpoint on a socket, for agents of other libraries and in other processes."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import openai
import pytest
from chat_parts import ADD, ScriptedSampler, saying, serve
from test_trajectories import assert_faithful
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.errors import RunError

USER = {"role": "user", "content": "1 + 2?"}


async def test_another_library_is_recorded_by_base_url_and_api_key(
    smol: PreTrainedTokenizerBase,
) -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
    sampler = saying(smol, [call, "It is 3."])
    service = serve(smol, sampler)
    session = service.open("r1")

    def work() -> str | None:
        client = openai.OpenAI(
            base_url=session.model.base_url, api_key=session.model.api_key, max_retries=0
        )
        asked = client.chat.completions.create(model="policy", messages=[USER], tools=[ADD])
        message = asked.choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "3"}
        history = [USER, message.model_dump(), result]
        answer = client.chat.completions.create(model="policy", messages=history, tools=[ADD])
        assert [model.id for model in client.models.list()] == ["policy"]
        return answer.choices[0].message.content

    async with service.listen():
        assert await asyncio.to_thread(work) == "It is 3."
    assert [one.branch for one in session.trajectory.calls] == [None, None]
    assert_faithful(session.trajectory, sampler.said)


async def test_a_wrong_or_missing_token_is_a_401(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, []))
    session = service.open("r1")
    async with service.listen() as address, httpx.AsyncClient() as client:
        url = f"{session.model.base_url}/chat/completions"
        body = {"model": "policy", "messages": [USER]}
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": address.token},
            {"Authorization": b"Bearer \xff\xfe"},
        ):
            response = await client.post(url, json=body, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["type"] == "authentication_error"
    assert session.trajectory.segments == []


async def test_pieces_arrive_while_the_model_still_samples(smol: PreTrainedTokenizerBase) -> None:
    ended = asyncio.Event()

    class Slow(ScriptedSampler):
        async def sample(self, prompt_ids, params, on_token=None):  # type: ignore[no-untyped-def]
            for token in smol.encode("one two"):
                on_token(token)
            await asyncio.sleep(0.3)
            ended.set()
            return await super().sample(prompt_ids, params)

    sampler = Slow(lambda *_: [*smol.encode("one two"), smol.eos_token_id])
    service = serve(smol, sampler)
    session = service.open("r1")
    async with service.listen():
        client = openai.AsyncOpenAI(base_url=session.model.base_url, api_key=session.model.api_key)
        text = ""
        stream = await client.chat.completions.create(model="policy", messages=[USER], stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                assert text or not ended.is_set()
                text += chunk.choices[0].delta.content
        assert text == "one two"


async def test_a_connection_that_breaks_off_ends_the_sampling(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, ["never", "never"], delay=lambda: 60.0)
    service = serve(smol, sampler)
    session = service.open("r1")
    async with service.listen() as address:
        headers = {"Authorization": f"Bearer {address.token}"}
        for stream in (False, True):
            async with httpx.AsyncClient(headers=headers, timeout=0.2) as client:
                body = {"model": "policy", "messages": [USER], "stream": stream}
                with pytest.raises(httpx.TimeoutException):
                    await client.post(f"{session.model.base_url}/chat/completions", json=body)
        await asyncio.sleep(0.1)
    assert sampler.cancelled == 2
    assert session.trajectory.segments == []
    assert session.fault is None


async def test_without_listening_there_is_no_url(smol: PreTrainedTokenizerBase) -> None:
    service, other = (serve(smol, saying(smol, [])) for _ in range(2))
    session = service.open("r1")
    for name in ("base_url", "api_key"):
        with pytest.raises(RunError, match="listening"):
            getattr(session.model, name)
    began = time.monotonic()
    async with service.listen() as address:
        taken = int(address.url.rpartition(":")[2])
        assert session.model.base_url == f"http://127.0.0.1:{taken}/rollouts/r1/v1"
        with pytest.raises(RunError, match=str(taken)):
            async with other.listen(port=taken):
                pass
    assert time.monotonic() - began < 5
    with pytest.raises(RunError):
        session.model.base_url  # noqa: B018
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", taken))
