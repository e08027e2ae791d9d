"""The endpoint on a socket, for agents of other libraries and in other processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import httpx
import openai
import psutil
import pytest
from chat_parts import ADD, ScriptedSampler, saying, serve
from test_trajectories import assert_faithful
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat_model import ask
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

    assert await asyncio.to_thread(work) == "It is 3."
    await service.close()
    assert [one.branch for one in session.trajectory.calls] == [None, None]
    assert_faithful(session.trajectory, sampler.said)


async def test_a_rollout_may_be_named_after_anything(smol: PreTrainedTokenizerBase) -> None:
    service = serve(smol, saying(smol, ["3", "3"]))
    session = service.open("eval-a/b c?#%2F-step0-0-0")
    assert await ask(session.model, "1 + 2?", max_tokens=4) == "3"
    async with httpx.AsyncClient() as client:
        url = f"{session.model.base_url}/chat/completions"
        body = {"model": "policy", "messages": [USER]}
        answered = await client.post(
            url, json=body, headers={"Authorization": f"Bearer {session.model.api_key}"}
        )
    assert answered.status_code == 200
    await service.close()
    assert len(session.trajectory.calls) == 2


async def test_a_rollouts_key_opens_nothing_else_and_dies_with_it(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, []))
    session, other = service.open("r1"), service.open("r2")
    gone = service.open("r1-try2")
    gone.close()
    async with httpx.AsyncClient() as client:
        url = f"{session.model.base_url}/chat/completions"
        body = {"model": "policy", "messages": [USER]}
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": session.model.api_key},
            {"Authorization": b"Bearer \xff\xfe"},
            {"Authorization": f"Bearer {other.model.api_key}"},
            {"Authorization": f"Bearer {gone.model.api_key}"},
        ):
            response = await client.post(url, json=body, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
        models = await client.get(f"{session.model.base_url}/models")
        assert models.status_code == 401
    await service.close()
    assert session.trajectory.segments == []


async def test_pieces_arrive_while_the_model_still_samples(smol: PreTrainedTokenizerBase) -> None:
    ended = asyncio.Event()

    class Slow(ScriptedSampler):
        async def sample(self, prompt_ids, params, on_token=None, abandoned=None):
            for token in smol.encode("one two"):
                on_token(token)
            await asyncio.sleep(0.3)
            ended.set()
            return await super().sample(prompt_ids, params)

    sampler = Slow(lambda *_: [*smol.encode("one two"), smol.eos_token_id])
    service = serve(smol, sampler)
    session = service.open("r1")
    client = openai.AsyncOpenAI(base_url=session.model.base_url, api_key=session.model.api_key)
    text = ""
    stream = await client.chat.completions.create(model="policy", messages=[USER], stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            assert text or not ended.is_set()
            text += chunk.choices[0].delta.content
    assert text == "one two"
    await service.close()


async def test_a_connection_that_breaks_off_ends_the_sampling(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, ["never", "never"], delay=lambda: 60.0)
    service = serve(smol, sampler)
    session = service.open("r1")
    headers = {"Authorization": f"Bearer {session.model.api_key}"}
    for stream in (False, True):
        async with httpx.AsyncClient(headers=headers, timeout=0.2) as client:
            body = {"model": "policy", "messages": [USER], "stream": stream}
            with pytest.raises(httpx.TimeoutException):
                await client.post(f"{session.model.base_url}/chat/completions", json=body)
    await asyncio.sleep(0.1)
    await service.close()
    assert sampler.cancelled == 2
    assert session.trajectory.segments == []
    assert session.fault is None


async def test_a_socket_is_open_from_the_first_look_at_the_url_until_the_service_closes(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, ["Hello."]))
    session = service.open("r1")
    await ask(session.model, "1 + 2?", max_tokens=4)
    assert listening_sockets() == 0
    began = time.monotonic()
    urls = await asyncio.gather(
        *(asyncio.to_thread(getattr, session.model, "base_url") for _ in range(8))
    )
    assert listening_sockets() == 1
    [url] = set(urls)
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/rollouts/r1/v1")
    await service.close()
    assert listening_sockets() == 0
    assert time.monotonic() - began < 5
    with pytest.raises(RunError, match="has ended"):
        _ = session.model.base_url


async def test_closing_right_after_the_first_look_frees_the_port(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, []))
    assert service.open("r1").model.base_url
    await service.close()
    assert listening_sockets() == 0


def listening_sockets() -> int:
    """TCP ports that this process listens on."""
    connections = psutil.Process().net_connections("tcp")
    return sum(one.status == psutil.CONN_LISTEN for one in connections)


async def test_an_agent_in_a_process_of_its_own_is_recorded(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, ["Three.", "Six."])
    service = serve(smol, sampler)
    session, other = service.open("r1"), service.open("r2")
    model = session.model
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, model.model_name),
        env={**os.environ, "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": model.api_key},
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    await service.close()
    assert output.decode().split() == ["Three.", "Six."]
    assert [one.branch for one in session.trajectory.calls] == [None, None]
    assert_faithful(session.trajectory, sampler.said)
    assert other.trajectory.calls == []


AGENT = """
import sys, openai

client = openai.OpenAI()
messages = []
for question in ("1 + 2?", "Twice that?"):
    messages.append({"role": "user", "content": question})
    answer = client.chat.completions.create(model=sys.argv[1], messages=messages)
    messages.append(answer.choices[0].message)
    print(answer.choices[0].message.content)
"""
"""A conversation of two turns with the model that its environment names."""
