"""Anthropic's messages API: its requests, as chat requests."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from agentscope_tuner.chat.reading import checked, read_json, refuse_other_parts, validated
from agentscope_tuner.chat.request import ChatRequest, Strict


class TextBlock(Strict):
    """Text."""

    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = None
    citations: list[Any] | None = Field(default=None, max_length=0)


class ToolUseBlock(Strict):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: dict[str, Any] | None = None
    caller: dict[str, Any] | None = None


class ToolResultBlock(Strict):
    """What a call came to."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None
    cache_control: dict[str, Any] | None = None


class ThinkingBlock(Strict):
    """What the model thought."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


Block = Annotated[
    TextBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock, Field(discriminator="type")
]
BLOCKS = ("text", "tool_use", "tool_result", "thinking")


class MessageParam(Strict):
    """A message."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class ToolParam(Strict):
    """A tool that the model may call."""

    type: Literal["custom"] | None = None
    name: str
    description: str | None = None
    input_schema: dict[str, Any]
    cache_control: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoiceParam(Strict):
    """Whether a tool has to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingParam(Strict):
    """Whether the model thinks."""

    type: Literal["disabled"]


class MessagesRequest(Strict):
    """A request of the messages API."""

    model: str
    messages: list[MessageParam] = Field(min_length=1)
    max_tokens: int = Field(ge=1)
    system: str | list[TextBlock] | None = None
    tools: list[ToolParam] | None = None
    tool_choice: ToolChoiceParam | None = None
    thinking: ThinkingParam | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stream: bool | None = None

    # They ask for nothing that changes the answer.
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


def read_request(body: bytes) -> ChatRequest:
    """The chat request that a messages request is; RequestError for what is not served."""
    fields = read_json(body)
    given = fields.get("messages")
    for at, message in enumerate(given if isinstance(given, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        refuse_other_parts(content, BLOCKS, f"messages.{at}.content")
        for block in content if isinstance(content, list) else ():
            refuse_other_parts(block.get("content"), ("text",), f"messages.{at}.content")
    asked = validated(MessagesRequest, fields)
    messages = [part for message in asked.messages for part in _messages(message)]
    if asked.system is not None:
        messages.insert(0, {"role": "system", "content": _text(asked.system)})
    choice = asked.tool_choice
    chat = {
        "messages": messages,
        "tools": [_tool(tool) for tool in asked.tools or ()] or None,
        "tool_choice": _choice(choice),
        "parallel_tool_calls": False if choice and choice.disable_parallel_tool_use else None,
        "reasoning_effort": "none" if asked.thinking else None,
        "stop": asked.stop_sequences or None,
    }
    same = ("model", "max_tokens", "temperature", "top_p", "top_k", "stream")
    return checked(validated(ChatRequest, chat | {name: getattr(asked, name) for name in same}))


def _messages(message: MessageParam) -> list[dict[str, Any]]:
    """One message; a user's results of tools are messages of their own, before what they say."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    blocks = message.content
    results = [
        {"role": "tool", "tool_call_id": block.tool_use_id, "content": _text(block.content or "")}
        for block in blocks
        if isinstance(block, ToolResultBlock)
    ]
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    thinking = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": json.dumps(block.input)},
        }
        for block in blocks
        if isinstance(block, ToolUseBlock)
    ]
    said: dict[str, Any] = {"role": message.role, "content": _text(texts)}
    if thinking:
        said["reasoning_content"] = "".join(thinking)
    if calls:
        said["tool_calls"] = calls
    return [*results, said] if texts or calls or thinking or not results else results


def _text(content: str | list[TextBlock]) -> str:
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def _tool(tool: ToolParam) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _choice(choice: ToolChoiceParam | None) -> Any:
    if choice is None:
        return None
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.type == "any" else choice.type
