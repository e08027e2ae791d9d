"""The Hermes form of tools: signatures in the system prompt, calls as tagged JSON.

    <tool_call>
    {"name": "add", "arguments": {"a": 1, "b": 2}}
    </tool_call>

Qwen's templates write it themselves. For a template that ignores tools this module writes it:
signatures go into the system message, calls into the assistant's text, results into user messages
between `<tool_response>` tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from agentscope_tuner.chat.messages import ChatMessage, parse_arguments

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_BLOCK = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)

_INSTRUCTIONS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def with_tools(
    messages: Sequence[ChatMessage], tools: Sequence[dict[str, Any]] | None
) -> list[ChatMessage]:
    """The conversation without tool fields: everything about tools is in the messages' text."""
    out = [_without_tool_fields(message) for message in _merge_results(messages)]
    if tools:
        signatures = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        instructions = _INSTRUCTIONS.format(signatures=signatures)
        if out[0]["role"] == "system":
            out[0] = {**out[0], "content": f"{out[0]['content']}\n\n{instructions}"}
        else:
            out.insert(0, {"role": "system", "content": instructions})
    return out


def _merge_results(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Tool results as user messages; results that follow one another share one."""
    out: list[ChatMessage] = []
    previous = None
    for message in messages:
        if message["role"] != "tool":
            out.append(message)
        else:
            result = f"<tool_response>\n{message['content']}\n</tool_response>"
            if previous == "tool":
                out[-1]["content"] += "\n" + result
            else:
                out.append({"role": "user", "content": result})
        previous = message["role"]
    return out


def _without_tool_fields(message: ChatMessage) -> ChatMessage:
    calls = [
        write_call(call["function"]["name"], parse_arguments(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
    ]
    if not calls:
        return message
    content = "\n".join([message["content"], *calls] if message["content"] else calls)
    return {key: message[key] for key in message if key != "tool_calls"} | {"content": content}


def write_call(name: str, arguments: Any) -> str:
    """One tool call as text."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{OPEN}\n{call}\n{CLOSE}"


def read_calls(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text outside the well-formed calls, and those calls as (name, arguments as JSON text).

    A block that is cut off or malformed is no call and stays in the text.
    """
    calls: list[tuple[str, str]] = []
    rest: list[str] = []
    end = 0
    for block in _BLOCK.finditer(text):
        call = _read_call(block[1])
        if call is not None:
            calls.append(call)
            rest.append(text[end : block.start()])
            end = block.end()
    if not calls:
        return text, []
    rest = [rest[0].rstrip(), *(part.strip() for part in (*rest[1:], text[end:]))]
    return "\n".join(part for part in rest if part), calls


def _read_call(block: str) -> tuple[str, str] | None:
    try:
        call = json.loads(block)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict):
        return None
    return checked_call(call.get("name"), call.get("arguments", {}))


def checked_call(name: Any, arguments: Any) -> tuple[str, str] | None:
    """The call as (name, arguments as JSON text); None unless the arguments are an object.

    Agents repair what they cannot read, which would change the history behind the model's back, so
    only what every client reads alike counts as a call. Arguments given as JSON text are read once.
    """
    if isinstance(arguments, str):
        arguments = parse_arguments(arguments)
    if not (isinstance(name, str) and name and isinstance(arguments, dict)):
        return None
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        text.encode()  # a lone surrogate has no UTF-8, so no response could carry it
        name.encode()
    except ValueError:
        return None
    return name, text
