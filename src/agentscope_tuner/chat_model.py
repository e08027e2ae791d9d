"""The chat models of the AgentScope that is installed: 1.x or 2.x, of one name, made otherwise.

Everything that knows which of the two it is stands here.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

from agentscope_tuner.errors import InputError

try:
    from agentscope.model import ChatModelBase as ChatModelBase
    from agentscope.model import OpenAIChatModel as OpenAIChatModel
except ModuleNotFoundError as missing:
    raise InputError(
        f"AgentScope cannot be imported ({missing}): install agentscope-tuner[agentscope1] or "
        "agentscope-tuner[agentscope2]."
    ) from missing

MAJOR = int(version("agentscope").partition(".")[0])
"""1 or 2."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a chat model is and how it is called; None leaves it to the server."""

    model: str
    """What the server calls it."""
    base_url: str
    api_key: str
    http_client: Any = None
    """An `AsyncClient` of the library that `openai` speaks; None: its own."""
    context_size: int | None = None
    """Most tokens of a prompt and its answer: where an agent of 2.x compresses its memory."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    retries: int | None = None
    """How often the model itself tries a failed call again; None: as its library does."""

    def arguments(self) -> dict[str, Any]:
        """What `OpenAIChatModel` is made of; answers come as a whole."""
        retries = {} if self.retries is None else {"max_retries": self.retries}
        http_client = {} if self.http_client is None else {"http_client": self.http_client}
        client = {**http_client, **retries}
        settings = ("temperature", "top_p", "max_tokens")
        given = {name: getattr(self, name) for name in settings if getattr(self, name) is not None}
        extra = {} if self.top_k is None else {"extra_body": {"top_k": self.top_k}}
        if MAJOR == 1:
            return {
                "model_name": self.model,
                "api_key": self.api_key,
                "stream": False,
                "client_kwargs": {"base_url": self.base_url, **client},
                "generate_kwargs": {**given, **extra},
            }
        credential = import_module("agentscope.credential").OpenAICredential
        size = {} if self.context_size is None else {"context_size": self.context_size}
        parameters: Any = OpenAIChatModel
        return {
            "credential": credential(api_key=self.api_key, base_url=self.base_url),
            "model": self.model,
            "parameters": parameters.Parameters(**given),
            "stream": False,
            "client_kwargs": client,
            **size,
            **retries,
            **extra,
        }


def name_of(model: ChatModelBase) -> str:
    """What a chat model calls itself."""
    name: str = getattr(model, "model_name" if MAJOR == 1 else "model")
    return name


async def ask(model: ChatModelBase, text: str, *, max_tokens: int) -> str:
    """The text of a model's answer to one message of a user, thinking left out."""
    asked: Any = [{"role": "user", "content": text}]
    if MAJOR > 1:
        asked = [import_module("agentscope.message").UserMsg(name="user", content=text)]
    answer: Any = await model(asked, max_tokens=max_tokens)
    if isinstance(answer, AsyncIterable):
        pieces = [piece async for piece in answer]
        answer = pieces[-1] if pieces else None  # the last one is the whole
    blocks = [_fields(block) for block in (answer.content if answer is not None else ())]
    return "".join(block["text"] for block in blocks if block["type"] == "text")


def message_fields(response: Any) -> dict[str, Any] | None:
    """A message as plain data, without its id and its time; None if it is no message of
    AgentScope's."""
    if not isinstance(response, import_module("agentscope.message").Msg):
        return None
    fields = {"name", "role", "content", "metadata", "structured_output"}
    if MAJOR > 1:
        dumped: dict[str, Any] = response.model_dump(mode="json", include=fields)
        return dumped
    return {name: value for name, value in response.to_dict().items() if name in fields}


def message_of(fields: dict[str, Any]) -> Any:
    """The message of these fields; `content` may be a text."""
    kind = import_module("agentscope.message").Msg
    if MAJOR == 1:
        return kind.from_dict(fields)
    content = fields["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return kind.model_validate({**fields, "content": blocks})


def _fields(block: Any) -> dict[str, Any]:
    """A block of 1.x is a dictionary, one of 2.x an object."""
    return block if isinstance(block, dict) else vars(block)
