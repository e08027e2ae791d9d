"""Models at other servers: what rollouts say to them is kept, and they answer as if it were not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from chat_parts import ADD, saying, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.remote import RemoteModel
from agentscope_tuner.chat.server import Listener
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat.session import Session
from agentscope_tuner.chat_model import Connection

QUESTION = [{"role": "user", "content": "1 + 2?"}]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def beside_a_policy(smol: PreTrainedTokenizerBase, url: str, key: str, model: str) -> ChatService:
    """A service whose auxiliary model "critic" is at another server."""
    critic = RemoteModel("critic", Connection(model, url, key, max_tokens=99))
    return ChatService(serve(smol, saying(smol, [])).policy, {"critic": critic})


@pytest.fixture
async def far(smol: PreTrainedTokenizerBase) -> AsyncIterator[Session]:
    """A rollout of another server of ours, which listens on a socket."""
    service = serve(smol, saying(smol, ["It is 3.", CALL, "four"]))
    session = service.open("far")
    yield session
    await service.close()


@pytest.fixture
async def session(smol: PreTrainedTokenizerBase, far: Session) -> Session:
    """A rollout whose auxiliary model is at that server."""
    key, url = far.model.api_key, far.model.base_url
    return beside_a_policy(smol, url, key, "policy").open("near")


async def test_calls_are_kept_with_the_rollout_that_made_them(session: Session) -> None:
    critic = session.auxiliary_models["critic"]
    answer = await critic(QUESTION)
    assert answer.content[0]["text"] == "It is 3."
    (kept,) = session.auxiliary_calls
    assert (kept.model, kept.finish_reason, kept.tools) == ("critic", "stop", None)
    assert kept.messages == QUESTION
    assert kept.response == {"role": "assistant", "content": "It is 3."}
    assert kept.began > 0
    assert kept.seconds > 0
    assert session.trajectory.segments == []


async def test_a_streamed_tool_call_is_kept_as_if_it_had_come_at_once(session: Session) -> None:
    critic = session.auxiliary_models["critic"]
    await critic(QUESTION)
    critic.stream = True
    pieces = [piece async for piece in await critic(QUESTION, tools=[ADD])]
    (block,) = [block for block in pieces[-1].content if block["type"] == "tool_use"]
    assert block["input"] == {"a": 1, "b": 2}
    kept = session.auxiliary_calls[-1]
    (call,) = kept.response["tool_calls"]
    assert call["id"] == block["id"]
    assert call["function"] == {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    assert kept.finish_reason == "tool_calls"
    assert kept.tools == [ADD]


async def test_calls_of_another_thread_are_kept_and_those_after_the_end_are_not(
    session: Session, far: Session
) -> None:
    critic = session.auxiliary_models["critic"]
    await asyncio.to_thread(lambda: asyncio.run(_ask(critic)))
    assert len(session.auxiliary_calls) == 1
    session.close()
    await critic(QUESTION)
    assert len(session.auxiliary_calls) == 1
    assert len(far.trajectory.calls) == 2


async def test_one_rollouts_changes_of_its_model_are_not_anothers(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = beside_a_policy(smol, "http://127.0.0.1:1/v1", "k", "m")
    one, two = (service.open(name).auxiliary_models["critic"] for name in ("r1", "r2"))
    one.stream = True
    assert not two.stream


ANSWERS: list[Any] = [
    {"error": {"message": "too busy"}},
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "late"}}]},
    ["no completion"],
    b"\xff no JSON",
]


async def test_failures_are_not_kept_and_whatever_a_server_answers_is_the_clients_business(
    smol: PreTrainedTokenizerBase,
) -> None:
    answers = iter(ANSWERS)

    async def answer(request: Request) -> Response:
        body = next(answers)
        if isinstance(body, bytes):
            return Response(body, media_type="application/json")
        busy = isinstance(body, dict) and "error" in body
        return JSONResponse(body, 503 if busy else 200)

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    listener = Listener(app, asyncio.get_running_loop())
    session = beside_a_policy(smol, f"{listener.url}/v1", "k", "m").open("r1")
    critic = session.auxiliary_models["critic"]
    try:
        image = {"type": "image_url", "image_url": {"url": "data:,"}}
        text = {"type": "text", "text": "What is this?"}
        await critic([{"role": "user", "content": [text, image]}])  # at the second attempt
        (kept,) = session.auxiliary_calls
        assert kept.messages[0]["content"] == "What is this?\n[image_url]"
        assert kept.response["content"] == "late"
        for _ in ANSWERS[2:]:
            with pytest.raises((AttributeError, TypeError, ValueError, openai.OpenAIError)):
                await critic(QUESTION)
        assert len(session.auxiliary_calls) == 1
    finally:
        await listener.close()


async def _ask(model: Any) -> None:
    await model(QUESTION)
