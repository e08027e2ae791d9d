"""OpenAI's responses API (the Agents SDK's own): its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agentscope_tuner.chat.chat_api import usage_of
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.chat.responses_request import read_request
from agentscope_tuner.chat.sse import event
from agentscope_tuner.chat.streaming import Delta

Object = dict[str, Any]


class ResponsesApi:
    """See `chat.api.Api`."""

    def parse(self, body: bytes) -> ChatRequest:
        """The request in the form of chat completions."""
        return read_request(body)

    def answer(self, generation: Generation, choices: Sequence[Choice]) -> Object:
        """A response object."""
        return response(generation, choices[0])

    def stream(self, generation: Generation) -> ResponseEvents:
        """The events of a response."""
        return ResponseEvents(generation)

    def error(self, error: RequestError) -> Object:
        """OpenAI's error object."""
        return error.body()


def response(generation: Generation, choice: Choice | None) -> Object:
    """The response object; without an answer, as it is when it begins."""
    request = generation.request
    whole: Object = {
        "id": _id("resp", generation),
        "object": "response",
        "created_at": generation.created,
        "status": "in_progress",
        "model": generation.model.name,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "tool_choice": request.tool_choice if isinstance(request.tool_choice, str) else "auto",
        "tools": [
            {"type": "function", "strict": None, "parameters": None}
            | tool.function.model_dump(exclude_none=True)
            for tool in request.tools or ()
        ],
        "usage": None,
    }
    if choice is None:
        return whole
    cut = choice.finish_reason == "length"
    usage = usage_of(generation, [choice])
    return whole | {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": list(_items(generation, choice)),
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {**usage["prompt_tokens_details"], "cache_write_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }


def _items(generation: Generation, choice: Choice) -> Iterator[Object]:
    """What the model thought, said and called; at least one item."""
    message = choice.message
    calls = message.get("tool_calls", ())
    if reasoning := message.get("reasoning_content"):
        yield _reasoning(generation, reasoning)
    if message["content"] or not (calls or reasoning):
        yield _message(generation, message["content"])
    for call in calls:
        yield _call(call, "completed")


def _reasoning(generation: Generation, text: str) -> Object:
    parts = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "id": _id("rs", generation), "summary": [], "content": parts}


def _message(generation: Generation, text: str | None, status: str = "completed") -> Object:
    parts = [] if text is None else [_part(text)]
    return {
        "type": "message",
        "id": _id("msg", generation),
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def _part(text: str) -> Object:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: Object, status: str) -> Object:
    return {
        "type": "function_call",
        "id": f"fc_{call['id']}",
        "call_id": call["id"],
        "name": call["function"]["name"],
        "arguments": call["function"]["arguments"] if status == "completed" else "",
        "status": status,
    }


def _id(kind: str, generation: Generation) -> str:
    return f"{kind}_{generation.id.removeprefix('chatcmpl-')}"


class ResponseEvents:
    """A streamed response.

    Args:
        generation: what is streamed.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._number = 0
        self._items = 0
        """Items that are done."""
        self._open: str | None = None
        """The kind of the item that is being written: `reasoning_content` or `content`."""
        self._text = ""
        """Of that item so far."""

    def begin(self) -> bytes:
        """The response exists."""
        created = response(self._generation, None)
        events = [
            self._event(f"response.{at}", response=created) for at in ("created", "in_progress")
        ]
        return b"".join(events)

    def delta(self, index: int, delta: Delta) -> bytes:
        """More of an item; the item before it is done."""
        events = b""
        for kind in ("reasoning_content", "content"):
            if text := delta.get(kind):
                events += self._begin_item(kind) + self._more(kind, text)
        for call in delta.get("tool_calls", ()):
            events += self._end_item() + self._whole_call(call)
        return events

    def end(self, choices: Sequence[Choice]) -> bytes:
        """The response is complete."""
        events = self._end_item()
        if not self._items:
            events += self._begin_item("content") + self._end_item()
        whole = response(self._generation, choices[0])
        kind = "incomplete" if whole["status"] == "incomplete" else "completed"
        return events + self._event(f"response.{kind}", response=whole)

    def failed(self, error: RequestError) -> bytes:
        """The error that ends the stream."""
        fields = {"code": error.code or error.kind, "message": error.message, "param": error.param}
        return self._event("error", **fields)

    def _begin_item(self, kind: str) -> bytes:
        if self._open == kind:
            return b""
        events = self._end_item()
        self._open, self._text = kind, ""
        if kind == "reasoning_content":
            item = {**_reasoning(self._generation, ""), "content": []}
            return events + self._item("added", item)
        events += self._item("added", _message(self._generation, None, "in_progress"))
        return events + self._part("response.content_part.added", part=_part(""))

    def _more(self, kind: str, text: str) -> bytes:
        self._text += text
        if kind == "reasoning_content":
            return self._part("response.reasoning_text.delta", delta=text)
        return self._part("response.output_text.delta", delta=text, logprobs=[])

    def _end_item(self) -> bytes:
        kind, self._open = self._open, None
        if kind is None:
            return b""
        if kind == "reasoning_content":
            events = self._part("response.reasoning_text.done", kind, text=self._text)
            item = _reasoning(self._generation, self._text)
        else:
            events = self._part("response.output_text.done", text=self._text, logprobs=[])
            events += self._part("response.content_part.done", part=_part(self._text))
            item = _message(self._generation, self._text)
        events += self._item("done", item)
        self._items += 1
        return events

    def _whole_call(self, call: Object) -> bytes:
        done = _call(call, "completed")
        place = {"item_id": done["id"], "output_index": self._items}
        arguments = done["arguments"]
        events = self._item("added", _call(call, "in_progress"))
        kind = "response.function_call_arguments"
        events += self._event(f"{kind}.delta", **place, delta=arguments)
        events += self._event(f"{kind}.done", **place, arguments=arguments, name=done["name"])
        events += self._item("done", done)
        self._items += 1
        return events

    def _part(self, type_: str, kind: str | None = None, **fields: Any) -> bytes:
        of_reasoning = (kind or self._open) == "reasoning_content"
        item_id = _id("rs" if of_reasoning else "msg", self._generation)
        place = {"item_id": item_id, "output_index": self._items, "content_index": 0}
        return self._event(type_, **place, **fields)

    def _item(self, what: str, item: Object) -> bytes:
        return self._event(f"response.output_item.{what}", output_index=self._items, item=item)

    def _event(self, type_: str, **fields: Any) -> bytes:
        data = {"type": type_, "sequence_number": self._number, **fields}
        self._number += 1
        return event(data, type_)
