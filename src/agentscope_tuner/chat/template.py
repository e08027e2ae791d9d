"""Rendering by the model's own chat template, for models without a renderer of their own.

The next turn keeps the sampled tokens where the template can be *shown* to keep their text: the
template is rendered up to the sampled message and beyond it, and only what it adds behind is
tokenised. The added text begins with the special token that closes a turn, so no token can straddle
the seam.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any

from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat import hermes
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import ChatMessage, for_template
from agentscope_tuner.chat.parsing import ParsedMessage, Thinking, parse_text, thinking_of
from agentscope_tuner.chat.rendering import TEMPLATE_ERRORS, Tools, template_refusals, unspeakable
from agentscope_tuner.chat.streaming import StreamRules
from agentscope_tuner.chat.time_limit import time_limit

_PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "Probe.",
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
    },
}
_PROBE_CALL = {
    "id": "probe0123",
    "type": "function",
    "function": {"name": "probe_tool", "arguments": {"x": "y"}},
}


class TemplateRenderer:
    """Messages and tokens of a model by its Jinja chat template.

    Args:
        tokenizer: has a chat template.
        tool_call_parser: "hermes" or None.
        thinking: split `<think>` off the content.
        eos_token_ids: end a turn besides the tokenizer's and the template's own.
        kwargs: arguments of the chat template.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        tool_call_parser: str | None,
        thinking: bool,
        eos_token_ids: Iterable[int] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._parser = tool_call_parser
        self._thinking = thinking
        self._kwargs = dict(kwargs or {})
        self._close = self._find_close()
        stops = {*eos_token_ids, tokenizer.eos_token_id, self._close and self._close[1]}
        self.stop_token_ids = tuple(sorted(stops - {None}))
        self._writes_tools, self._writes_hermes = self._probe_tools()
        self.hermes_calls = self._parser == "hermes" and self.refuse_tools() is None
        self._variant = lru_cache(maxsize=16)(self._make_variant)

    def variant(self, kwargs: Mapping[str, Any]) -> TemplateRenderer:
        """The renderer with these template arguments on top; each must occur in the template."""
        if not kwargs:
            return self
        template = self._tokenizer.get_chat_template()
        ours = {"messages", *signature(self._tokenizer.apply_chat_template).parameters}
        for name, value in kwargs.items():
            if name in ours or not re.search(rf"\b{re.escape(name)}\b", template):
                raise RequestError(
                    f"chat_template_kwargs.{name} is nothing that the model's chat template takes "
                    "from a request.",
                    param=f"chat_template_kwargs.{name}",
                )
            if not isinstance(value, str | bool | int | float | None):
                raise RequestError(
                    f"chat_template_kwargs.{name} must be a string, a number or a boolean.",
                    param=f"chat_template_kwargs.{name}",
                )
        return self._variant(tuple(sorted(kwargs.items())))

    def _make_variant(self, items: tuple[tuple[str, Any], ...]) -> TemplateRenderer:
        return TemplateRenderer(
            self._tokenizer,
            tool_call_parser=self._parser,
            thinking=self._thinking,
            eos_token_ids=self.stop_token_ids,
            kwargs={**self._kwargs, **dict(items)},
        )

    def refuse_tools(self) -> str | None:
        """Why tools cannot be served: nobody writes them, or nobody can read the calls."""
        if not self._writes_tools and self._parser is None:
            return (
                "the model's chat template ignores tools; set tool_call_parser='hermes' to have "
                "them written into the prompt"
            )
        if self._writes_tools and not self._writes_hermes and self._parser == "hermes":
            return (
                "the model's chat template does not write tool calls in the Hermes form that "
                "tool_call_parser='hermes' reads; set tool_call_parser=None to get them as text"
            )
        return None

    def render(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """See `ChatRenderer.render`."""
        with template_refusals():
            return self._encode(self._text(messages, tools, opener=True))

    def extend(
        self,
        prompt_ids: list[int],
        completion_ids: list[int],
        history: Sequence[ChatMessage],
        new_messages: Sequence[ChatMessage],
        tools: Tools | None,
    ) -> list[int] | None:
        """See `ChatRenderer.extend`."""
        if self._close is None:
            return None
        close, close_id = self._close
        try:
            asked = self._text(history[:-1], tools, opener=True)
            closed = self._text(history, tools, opener=False)
            extended = self._text([*history, *new_messages], tools, opener=True)
        except TEMPLATE_ERRORS:
            return None  # rendering the whole conversation says what is wrong with it
        if not (
            closed.startswith(asked) and closed.endswith(close) and extended.startswith(closed)
        ):
            return None
        reasoning = history[-1].get("reasoning_content")
        if reasoning and reasoning not in closed[len(asked) :]:
            return None
        added = self._encode(close + extended[len(closed) :])
        if added[0] != close_id:
            return None
        ended = completion_ids[-1:] and completion_ids[-1] in self.stop_token_ids
        return prompt_ids + completion_ids + (added[1:] if ended else added)

    def completion(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """See `ChatRenderer.completion`."""
        try:
            asked = self._text(messages[:-1], tools, opener=True)
            answered = self._text(messages, tools, opener=False)
        except TEMPLATE_ERRORS as error:
            raise unspeakable(str(error)) from error
        if self._close is None:
            raise unspeakable("no special token ends the assistant's turn")
        close, close_id = self._close
        if not (answered.startswith(asked) and answered.endswith(close)):
            raise unspeakable("it is written otherwise than it is asked for")
        said = answered[len(asked) : -len(close)]
        if messages[-1].get("reasoning_content", "") not in said:
            raise unspeakable("its thinking is dropped")
        return [*self._encode(said), close_id]

    def parse(
        self, completion_ids: list[int], prompt_ids: list[int], *, tools: bool
    ) -> ParsedMessage:
        """See `ChatRenderer.parse`."""
        if completion_ids[-1:] and completion_ids[-1] in self.stop_token_ids:
            completion_ids = completion_ids[:-1]
        return parse_text(
            str(self._tokenizer.decode(completion_ids, skip_special_tokens=False)),
            thinking=self._thinking,
            prefilled=self.thinking(prompt_ids) == "open",
            tools=tools and self._parser is not None,
        )

    def thinking(self, prompt_ids: list[int]) -> Thinking:
        """See `ChatRenderer.thinking`."""
        return thinking_of(self._tokenizer, prompt_ids) if self._thinking else "closed"

    def stream_rules(self, prompt_ids: list[int], *, tools: bool) -> StreamRules:
        """See `ChatRenderer.stream_rules`."""
        return StreamRules(
            thinking=self._thinking,
            prefilled=self.thinking(prompt_ids) == "open",
            tools=tools and self._parser is not None,
        )

    def _text(self, messages: Sequence[ChatMessage], tools: Tools | None, *, opener: bool) -> str:
        if self._parser == "hermes" and not self._writes_tools:
            messages, tools = hermes.with_tools(messages, tools), None
        return self._apply(for_template(messages), tools, opener)

    def _apply(self, messages: Sequence[ChatMessage], tools: Tools | None, opener: bool) -> str:
        with time_limit():
            text = self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=opener,
                tokenize=False,
                **self._kwargs,
            )
        assert isinstance(text, str)
        return text

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _find_close(self) -> tuple[str, int] | None:
        """The text behind an assistant's content and the special token that it begins with."""
        answer = "The answer is here."
        text = self._apply(
            [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": answer}],
            None,
            False,
        )
        close = text.rpartition(answer)[2]
        if not close:
            return None
        first = self._encode(close)[0]
        is_added = first in self._tokenizer.added_tokens_decoder
        return (close, first) if is_added else None

    def _probe_tools(self) -> tuple[bool, bool]:
        """Whether the template writes tools and calls, and whether it writes calls as Hermes."""
        user = {"role": "user", "content": "Hi."}
        try:
            signatures = self._apply([user], [_PROBE_TOOL], True)
            calls = self._apply(
                [
                    user,
                    {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]},
                    {"role": "tool", "content": "probe_result", "tool_call_id": "probe0123"},
                ],
                None,
                True,
            )
        except TEMPLATE_ERRORS:
            return False, False
        writes = "probe_tool" in signatures and "probe_tool" in calls and "probe_result" in calls
        return writes, ("probe_tool", '{"x": "y"}') in hermes.read_calls(calls)[1]
