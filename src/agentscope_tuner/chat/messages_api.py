"""Anthropic's messages API: its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentscope_tuner.chat.chat_api import usage_of
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.messages_request import read_request
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.chat.sse import event
from agentscope_tuner.chat.streaming import Delta

Object = dict[str, Any]

_ERRORS = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    500: "api_error",
}


class MessagesApi:
    """See `chat.api.Api`."""

    def parse(self, body: bytes) -> ChatRequest:
        """The request in the form of chat completions."""
        return read_request(body)

    def answer(self, generation: Generation, choices: Sequence[Choice]) -> Object:
        """A message."""
        [choice] = choices
        return {
            **_begun(generation),
            "content": _blocks(choice),
            **_ended(generation, choice),
            "usage": _usage(generation, choice),
        }

    def stream(self, generation: Generation) -> MessageEvents:
        """The events of a message."""
        return MessageEvents(generation)

    def error(self, error: RequestError) -> Object:
        """Anthropic's error object."""
        kind = _ERRORS.get(error.status, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": error.message}}


def _begun(generation: Generation) -> Object:
    return {
        "id": f"msg_{generation.id.removeprefix('chatcmpl-')}",
        "type": "message",
        "role": "assistant",
        "model": generation.model.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": len(generation.prompt_ids), "output_tokens": 0},
    }


def _blocks(choice: Choice) -> list[Object]:
    message = choice.message
    blocks: list[Object] = []
    if thinking := message.get("reasoning_content"):
        blocks.append({"type": "thinking", "thinking": thinking, "signature": ""})
    if message["content"]:
        blocks.append({"type": "text", "text": message["content"]})
    return [*blocks, *map(_call, message.get("tool_calls", ()))]


def _call(call: Object) -> Object:
    arguments = json.loads(call["function"]["arguments"])
    name = call["function"]["name"]
    return {"type": "tool_use", "id": call["id"], "name": name, "input": arguments}


def _ended(generation: Generation, choice: Choice) -> Object:
    """Why the message ended, and at which stop string."""
    reasons = {"length": "max_tokens", "tool_calls": "tool_use"}
    reason, stopped_at = reasons.get(choice.finish_reason, "end_turn"), None
    if reason == "end_turn" and generation.request.stop_strings:
        text = str(generation.model.tokenizer.decode(choice.completion.token_ids))
        found = [stop for stop in generation.request.stop_strings if stop in text]
        if found:
            reason, stopped_at = "stop_sequence", min(found, key=text.find)
    return {"stop_reason": reason, "stop_sequence": stopped_at}


def _usage(generation: Generation, choice: Choice) -> Object:
    usage = usage_of(generation, [choice])
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"] - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage["completion_tokens"],
    }


class MessageEvents:
    """A streamed message.

    Args:
        generation: what is streamed.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._blocks = 0
        """Blocks that are done."""
        self._open: str | None = None
        """The kind of the block that is being written."""

    def begin(self) -> bytes:
        """The message exists."""
        return _event("message_start", message=_begun(self._generation))

    def delta(self, index: int, delta: Delta) -> bytes:
        """More of a block; the block before it is done."""
        events = b""
        if thinking := delta.get("reasoning_content"):
            events += self._begin({"type": "thinking", "thinking": "", "signature": ""})
            events += self._more({"type": "thinking_delta", "thinking": thinking})
        if text := delta.get("content"):
            events += self._begin({"type": "text", "text": ""})
            events += self._more({"type": "text_delta", "text": text})
        for call in delta.get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            events += self._end() + self._begin({**_call(call), "input": {}})
            events += self._more({"type": "input_json_delta", "partial_json": arguments})
        return events

    def end(self, choices: Sequence[Choice]) -> bytes:
        """The message is complete."""
        ended = _ended(self._generation, choices[0])
        usage = _usage(self._generation, choices[0])
        events = self._end() + _event("message_delta", delta=ended, usage=usage)
        return events + _event("message_stop")

    def failed(self, error: RequestError) -> bytes:
        """The error that ends the stream."""
        return event(MessagesApi().error(error), "error")

    def _begin(self, block: Object) -> bytes:
        if self._open == block["type"]:
            return b""
        events = self._end()
        self._open = block["type"]
        return events + _event("content_block_start", index=self._blocks, content_block=block)

    def _more(self, delta: Object) -> bytes:
        return _event("content_block_delta", index=self._blocks, delta=delta)

    def _end(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._blocks += 1
        return _event("content_block_stop", index=self._blocks - 1)


def _event(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)
