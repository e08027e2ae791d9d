"""Messages in one canonical form, and when two of them are the same message.

Clients format the same history differently from call to call: content as text or as parts,
arguments re-dumped with other spaces, thinking left out, names added. `message_key` sees through
that, and through nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

from agentscope_tuner.chat.request import Message

ChatMessage = dict[str, Any]
"""A message in OpenAI's form: `content` is text, absent fields are left out."""


def canonical(messages: Sequence[Message]) -> list[ChatMessage]:
    """The request's messages in canonical form: text parts joined by newlines, null content empty,
    `developer` spelt `system`."""
    return [_canonical(message) for message in messages]


def _canonical(message: Message) -> ChatMessage:
    content = message.content
    if isinstance(content, list):
        content = "\n".join(part.text for part in content)
    out: ChatMessage = {
        "role": "system" if message.role == "developer" else message.role,
        "content": content or "",
    }
    if message.name is not None and message.role != "assistant":
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    reasoning = message.reasoning_content or message.reasoning
    if reasoning and message.role == "assistant":
        out["reasoning_content"] = reasoning
    return out


def message_key(message: ChatMessage) -> Hashable:
    """Equal for two canonical messages exactly if they are the same message.

    Tool calls are the same if their ids, names and parsed arguments are. Thinking is no part of it:
    most clients drop it (see `reasoning_differs`).
    """
    content = message["content"]
    return (
        message["role"],
        content.strip() if message["role"] == "assistant" else content,
        message.get("name"),
        message.get("tool_call_id"),
        tuple(
            (
                call["id"],
                call["function"]["name"],
                json.dumps(parse_arguments(call["function"]["arguments"]), sort_keys=True),
            )
            for call in message.get("tool_calls", ())
        ),
    )


def reasoning_differs(sent: ChatMessage, recorded: ChatMessage) -> bool:
    """Whether the client sent thinking along and it is not what was recorded."""
    reasoning = sent.get("reasoning_content")
    return (
        reasoning is not None and reasoning.strip() != recorded.get("reasoning_content", "").strip()
    )


def parse_arguments(arguments: str) -> Any:
    """The arguments of a tool call as data; the text itself where it is no JSON."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def for_template(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages as chat templates expect them: tool-call arguments as data, not as text."""
    return [
        message
        if "tool_calls" not in message
        else {
            **message,
            "tool_calls": [
                {
                    **call,
                    "function": {
                        "name": call["function"]["name"],
                        "arguments": parse_arguments(call["function"]["arguments"]),
                    },
                }
                for call in message["tool_calls"]
            ],
        }
        for message in messages
    ]
