"""Models at other servers, whose calls are kept with the rollout that made them.

Each rollout has a chat model of its own, whose HTTP client hands every request on to one that
all rollouts share, and reads along. So a call is known whatever method of the model, and whatever
thread, has made it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import openai

from agentscope_tuner.chat.messages import ChatMessage
from agentscope_tuner.chat.text_model import TextChatModel
from agentscope_tuner.chat.transport import http
from agentscope_tuner.chat_model import Connection
from agentscope_tuner.trajectory import AuxiliaryCall

OnCall = Callable[[AuxiliaryCall], None]
"""Hears of every call that was answered, on whatever thread it was made."""


class RemoteModel:
    """A model at an OpenAI-compatible server.

    Args:
        name: what its calls are kept under.
        connection: where it is.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self._connection = connection
        self._certificates = http.create_ssl_context()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def connect(self, on_call: OnCall = lambda call: None) -> TextChatModel:
        """A chat model of its own for one rollout. A call that fails is tried again as OpenAI's
        client does; only answers are told to `on_call`."""
        client = http.AsyncClient(transport=_ReadAlong(self._shared, self.name, on_call))
        return TextChatModel(**replace(self._connection, http_client=client).arguments())

    def _shared(self) -> Any:
        """The client of the running event loop: a connection belongs to the loop that opened it."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = openai.DefaultAsyncHttpxClient(verify=self._certificates)
        return self._clients[loop]


class _ReadAlong(http.AsyncBaseTransport):
    def __init__(self, shared: Callable[[], Any], name: str, on_call: OnCall) -> None:
        self._shared = shared
        self._name = name
        self._on_call = on_call

    async def handle_async_request(self, request: Any) -> Any:
        began = time.time()
        response = await self._shared().send(request, stream=True)

        def answered(body: bytes) -> None:
            try:
                plain = http.Response(200, headers=response.headers, content=body).content
            except http.DecodingError:
                return  # which the client meets as well
            seconds = round(time.time() - began, 4)
            for call in _calls(self._name, request.content, plain, seconds, began):
                self._on_call(call)

        return http.Response(
            response.status_code,
            headers=response.headers,
            stream=_Body(response, answered if response.is_success else lambda body: None),
            extensions=response.extensions,
        )


class _Body(http.AsyncByteStream):
    """An answer on its way to the client; `answered` gets it once, as far as the client read."""

    def __init__(self, response: Any, answered: Callable[[bytes], None]) -> None:
        self._response = response
        self._answered = answered
        self._read: list[bytes] | None = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_raw():
            if self._read is not None:
                self._read.append(part)
            yield part
        self._tell()

    async def aclose(self) -> None:
        self._tell()
        await self._response.aclose()

    def _tell(self) -> None:
        read, self._read = self._read, None
        if read is not None:
            self._answered(b"".join(read))


def _calls(
    name: str, request: bytes, answer: bytes, seconds: float, began: float
) -> Iterator[AuxiliaryCall]:
    """What a chat completion has asked and answered: one call a choice; none if it is another
    kind of request, or nothing that a chat completion answers."""
    try:
        asked = json.loads(request)
        messages = [_message(message) for message in asked["messages"]]
        choices = _streamed(answer) if asked.get("stream") else json.loads(answer)["choices"]
        told = [(_message(one["message"]), one.get("finish_reason") or "") for one in choices]
        tools = asked.get("tools")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return  # a server may answer anything; the client that reads it says what is wrong
    for response, finish_reason in told:
        yield AuxiliaryCall(name, messages, tools, response, str(finish_reason), seconds, began)


def _message(sent: dict[str, Any]) -> ChatMessage:
    """A message as others are kept; parts that are no text are named."""
    content = sent.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in content)
    message: ChatMessage = {"role": str(sent["role"]), "content": str(content or "")}
    reasoning = sent.get("reasoning_content") or sent.get("reasoning")
    if reasoning:
        message["reasoning_content"] = str(reasoning)
    if sent.get("tool_call_id"):
        message["tool_call_id"] = str(sent["tool_call_id"])
    if sent.get("tool_calls"):
        message["tool_calls"] = [
            {
                "id": str(call.get("id")),
                "type": "function",
                "function": {
                    "name": str(call["function"]["name"]),
                    "arguments": str(call["function"]["arguments"]),
                },
            }
            for call in sent["tool_calls"]
        ]
    return message


def _streamed(body: bytes) -> list[dict[str, Any]]:
    """The choices that server-sent events add up to, as a whole answer has them."""
    choices: dict[int, dict[str, Any]] = {}
    for line in body[: body.rfind(b"\n") + 1].splitlines():  # the last one may be half
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        for piece in json.loads(line[5:])["choices"]:
            new = {"message": {"role": "assistant"}, "finish_reason": None}
            choice = choices.setdefault(piece["index"], new)
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            _add(choice["message"], piece["delta"])
    return [choices[index] for index in sorted(choices)]


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("content", "reasoning_content", "reasoning"):
        message[key] = (message.get(key) or "") + (delta.get(key) or "")
    for piece in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        if piece["index"] >= len(calls):
            calls.append({"function": {"name": "", "arguments": ""}})
        call = calls[piece["index"]]
        call["id"] = piece.get("id") or call.get("id")
        for key in ("name", "arguments"):
            call["function"][key] += (piece.get("function") or {}).get(key) or ""
