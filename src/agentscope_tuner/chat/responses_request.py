"""OpenAI's responses API: its requests, as chat requests.

Nothing is kept here between requests: what a conversation was so far has to be in its input.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agentscope_tuner.chat.reading import checked, read_json, refuse_other_parts, validated
from agentscope_tuner.chat.request import ChatRequest, Function, Strict


class InputText(Strict):
    """A part of a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class InputMessage(Strict):
    """A message, of whoever."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCallItem(Strict):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionOutputItem(Strict):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText]
    id: str | None = None
    status: str | None = None


class ReasoningText(Strict):
    """A part of the model's thinking."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Strict):
    """What the model thought."""

    type: Literal["reasoning"]
    content: list[ReasoningText] | None = None
    summary: list[Any] = Field(default_factory=list)
    id: str | None = None
    status: str | None = None
    encrypted_content: None = None


class FunctionTool(Function):
    """A tool, not nested."""

    type: Literal["function"]


class ToolChoice(Strict):
    """The tool that has to be called."""

    type: Literal["function"]
    name: str


class TextFormat(Strict):
    """The form of the answer, not nested."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextSettings(Strict):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningSettings(Strict):
    """How the model thinks."""

    effort: str | None = None
    summary: None = None
    generate_summary: None = None


Item = Annotated[
    InputMessage | FunctionCallItem | FunctionOutputItem | ReasoningItem,
    Field(discriminator="type"),
]
TEXT_PARTS = ("input_text", "output_text", "text", "reasoning_text")


class ResponsesRequest(Strict):
    """A request of the responses API."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: ReasoningSettings | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None

    # They ask for nothing that changes the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    truncation: Literal["disabled"] | None = None
    background: Annotated[bool, Field(le=False)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    top_logprobs: Literal[0] | None = None
    stream_options: dict[str, Any] | None = None


def read_request(body: bytes) -> ChatRequest:
    """The chat request that a responses request is; RequestError for what is not served."""
    fields = read_json(body)
    items = fields.get("input")
    for at, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            item.setdefault("type", "message")
            refuse_other_parts(item.get("content"), TEXT_PARTS, f"input.{at}.content")
            refuse_other_parts(item.get("output"), TEXT_PARTS, f"input.{at}.output")
    asked = validated(ResponsesRequest, fields)
    messages = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else []
    for item in asked.input if isinstance(asked.input, list) else ():
        _append(messages, item)
    if asked.instructions is not None:
        messages.insert(0, {"role": "system", "content": asked.instructions})
    chat = {
        "messages": messages,
        "model": asked.model,
        "max_tokens": asked.max_output_tokens,
        "tools": [
            {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
            for tool in asked.tools or ()
        ]
        or None,
        "tool_choice": {"type": "function", "function": {"name": asked.tool_choice.name}}
        if isinstance(asked.tool_choice, ToolChoice)
        else asked.tool_choice,
        "response_format": _format(asked.text.format if asked.text else None),
        "reasoning_effort": asked.reasoning.effort if asked.reasoning else None,
    }
    same = ("parallel_tool_calls", "temperature", "top_p", "stream")
    return checked(validated(ChatRequest, chat | {name: getattr(asked, name) for name in same}))


def _append(messages: list[dict[str, Any]], item: Item) -> None:
    """Add an item. What the model gave as several items is one message of its own."""
    if isinstance(item, FunctionOutputItem):
        message = {"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)}
        messages.append(message)
        return
    if isinstance(item, InputMessage) and item.role != "assistant":
        messages.append({"role": item.role, "content": _text(item.content)})
        return
    last = messages[-1] if messages else {}
    goes_on = last.get("role") == "assistant"
    if isinstance(item, InputMessage):
        goes_on = goes_on and not last["content"] and "tool_calls" not in last
    if isinstance(item, ReasoningItem):
        goes_on = False
    if not goes_on:
        messages.append(last := {"role": "assistant", "content": ""})
    if isinstance(item, InputMessage):
        last["content"] = _text(item.content)
    elif isinstance(item, ReasoningItem):
        last["reasoning_content"] = "".join(part.text for part in item.content or ())
    else:
        function = {"name": item.name, "arguments": item.arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        last.setdefault("tool_calls", []).append(call)


def _text(content: str | list[InputText]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _format(form: TextFormat | None) -> dict[str, Any] | None:
    if form is None or form.type != "json_schema":
        return None if form is None else {"type": form.type}
    schema = {"name": form.name, "schema": form.schema_, "strict": form.strict}
    return {"type": "json_schema", "json_schema": schema}
