"""Prompts that are text or tokens as they are, without a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import ChatMessage
from agentscope_tuner.chat.parsing import ParsedMessage, Thinking
from agentscope_tuner.chat.rendering import Tools
from agentscope_tuner.chat.streaming import StreamRules


class UnrenderedPrompt:
    """A `ChatRenderer` of one message, the prompt, whose answer is all text.

    Args:
        tokenizer: adds to a text what it adds to any (a token for the beginning, say).
        stop_token_ids: end the answer.
        prompt_ids: the prompt, if it was given as tokens.
    """

    hermes_calls = False

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_token_ids: tuple[int, ...],
        prompt_ids: list[int] | None,
    ) -> None:
        self._tokenizer = tokenizer
        self.stop_token_ids = stop_token_ids
        self._prompt_ids = prompt_ids

    def variant(self, kwargs: Mapping[str, Any]) -> UnrenderedPrompt:
        """Itself: there is no template that could take arguments."""
        return self

    def refuse_tools(self) -> str | None:
        """Why tools cannot be served."""
        return "a plain prompt has none"

    def render(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """The prompt's tokens."""
        ids = self._prompt_ids or list(self._tokenizer.encode(messages[0]["content"]))
        if not ids:
            raise RequestError("The prompt is empty.", param="prompt")
        return ids

    def extend(
        self,
        prompt_ids: list[int],
        completion_ids: list[int],
        history: Sequence[ChatMessage],
        new_messages: Sequence[ChatMessage],
        tools: Tools | None,
    ) -> list[int] | None:
        """Never: each prompt says itself what it goes on from."""
        return None

    def completion(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """The answer's own tokens."""
        return list(self._tokenizer.encode(messages[-1]["content"], add_special_tokens=False))

    def parse(
        self, completion_ids: list[int], prompt_ids: list[int], *, tools: bool
    ) -> ParsedMessage:
        """All text, up to the token that ended it."""
        if completion_ids[-1:] and completion_ids[-1] in self.stop_token_ids:
            completion_ids = completion_ids[:-1]
        return ParsedMessage(str(self._tokenizer.decode(completion_ids, skip_special_tokens=False)))

    def thinking(self, prompt_ids: list[int]) -> Thinking:
        """No part of it."""
        return "closed"

    def stream_rules(self, prompt_ids: list[int], *, tools: bool) -> StreamRules:
        """Text as it comes."""
        return StreamRules(thinking=False, prefilled=False, tools=False)
