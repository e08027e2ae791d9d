"""One model's way between messages and tokens, behind one interface.

`create_chat_renderer` takes a renderer of the `renderers` library where one fits the model, and the
model's own chat template (`chat.template`) otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import ChatMessage
from agentscope_tuner.chat.parsing import ParsedMessage, Thinking
from agentscope_tuner.chat.streaming import StreamRules

Tools = Sequence[dict[str, Any]]

TEMPLATE_ERRORS = (Exception,)
"""What chat templates raise for conversations that they do not take: they are programs of others,
and there is no list of what can go wrong in them."""


class ChatRenderer(Protocol):
    """Messages to prompt tokens, sampled tokens to a message."""

    stop_token_ids: tuple[int, ...]
    """Any of these ends the model's turn."""
    hermes_calls: bool
    """Whether tool calls are written and read in the Hermes form."""

    def variant(self, kwargs: Mapping[str, Any]) -> ChatRenderer:
        """The renderer with these chat-template arguments; RequestError if one has no effect."""
        ...

    def refuse_tools(self) -> str | None:
        """Why a request with tools cannot be served; None if it can."""
        ...

    def render(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """The prompt that asks for the next assistant message; RequestError if there is none."""
        ...

    def extend(
        self,
        prompt_ids: list[int],
        completion_ids: list[int],
        history: Sequence[ChatMessage],
        new_messages: Sequence[ChatMessage],
        tools: Tools | None,
    ) -> list[int] | None:
        """The prompt after `new_messages` that begins with `prompt_ids + completion_ids`.

        `history` is the earlier conversation, ending in the message that was sampled as
        `completion_ids`. None where the template would not keep those tokens' text.
        """
        ...

    def completion(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """The tokens that say the last message, an assistant's, when asked with those before it.

        They end with a stop token. RequestError where the template does not write that message
        behind the prompt.
        """
        ...

    def parse(
        self, completion_ids: list[int], prompt_ids: list[int], *, tools: bool
    ) -> ParsedMessage:
        """The message that was sampled; with `tools` False, calls stay in the content."""
        ...

    def thinking(self, prompt_ids: list[int]) -> Thinking:
        """Where the prompt leaves thinking; "closed" where it is no part of the model's form."""
        ...

    def stream_rules(self, prompt_ids: list[int], *, tools: bool) -> StreamRules | None:
        """How `parse` can be anticipated token by token; None if it cannot."""
        ...


def unspeakable(reason: str) -> RequestError:
    """The error for an assistant's message that the model could not have said."""
    return RequestError(
        f"The model's chat template has no tokens for this answer: {reason}.", param="messages"
    )


@contextmanager
def template_refusals() -> Iterator[None]:
    """Turn what a chat template raises into the RequestError that says so."""
    try:
        yield
    except TEMPLATE_ERRORS as error:
        raise RequestError(
            f"The model's chat template refuses this conversation: {error}", param="messages"
        ) from error
