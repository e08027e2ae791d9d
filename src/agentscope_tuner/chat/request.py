"""The chat-completions request: what is served is typed here, what is not is refused by name.

A field is either honoured, harmless (it asks for nothing: `user`, `metadata`), or an error. Nothing
is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from agentscope_tuner.chat.limits import (
    MAX_BIASES,
    MAX_CHOICES,
    MAX_STOP_LENGTH,
    MAX_STOPS,
)
from agentscope_tuner.penalties import Penalties


class Strict(BaseModel):
    """A part of a request: fields that are not known, and numbers that are none, are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TextPart(Strict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class FunctionCall(Strict):
    """The function of a tool call; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A tool call in an assistant's message."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class Message(Strict):
    """A message of the conversation. Fields that clients echo back from an answer must be null."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = Field(default=None, max_length=0)

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, content: Any) -> Any:
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            if kind != "text":
                raise ValueError(f"a content part of type {kind!r} is not served, only 'text' is")
        return content

    @model_validator(mode="after")
    def _fields_fit_the_role(self) -> Message:
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a message of the role 'tool' needs a tool_call_id")
        if self.role != "tool" and self.tool_call_id is not None:
            raise ValueError("only a message of the role 'tool' has a tool_call_id")
        if self.role != "assistant" and self.tool_calls:
            raise ValueError("only a message of the role 'assistant' has tool_calls")
        return self


class Function(Strict):
    """A tool's signature; `parameters` is a JSON schema."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    """The function that a named tool choice names."""

    name: str


class NamedToolChoice(Strict):
    """A tool choice that names one function."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(Strict):
    """The schema of a structured answer."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class ChatRequest(Strict):
    """A chat-completions request."""

    messages: list[Message] = Field(min_length=1)
    model: str
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: Annotated[dict[int, Bias], Field(max_length=MAX_BIASES)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS)] | None = None
    seed: int | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_ids: bool | None = None

    # They ask for nothing that changes the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    modalities: list[Literal["text"]] | None = None

    _plain_prompt: str | list[int] | None = PrivateAttr(default=None)

    @property
    def plain_prompt(self) -> str | list[int] | None:
        """The prompt as text or tokens, in place of rendered messages; no client sets it here."""
        return self._plain_prompt

    def with_plain_prompt(self, prompt: str | list[int]) -> ChatRequest:
        """The request with a prompt that is not rendered."""
        self._plain_prompt = prompt
        return self

    @property
    def penalties(self) -> Penalties | None:
        """What changes the logits; None: nothing."""
        penalties = Penalties(
            repetition=self.repetition_penalty or 1.0,
            presence=self.presence_penalty or 0.0,
            frequency=self.frequency_penalty or 0.0,
            bias=tuple((self.logit_bias or {}).items()),
        )
        return None if penalties.none else penalties

    @property
    def asks_for_form(self) -> bool:
        """Whether the answer has to follow a grammar."""
        free = self.response_format is None or self.response_format.type == "text"
        return not free or self.tool_choice not in (None, "none", "auto")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings; empty if there are none."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def requested_tokens(self) -> int | None:
        """The limit that the request sets on sampled tokens, under either of its names."""
        return self.max_completion_tokens or self.max_tokens
