"""Rendering by the `renderers` library, for the model families that it knows by hand.

Its renderers mirror the family's chat template token by token, and extend a conversation without
rendering the sampled tokens again (`bridge_to_next_turn`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import renderers
from renderers.base import (
    ParsedResponse,
    ToolCallParseStatus,
    build_training_sample,
    merge_chat_template_kwargs,
)
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat import hermes
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import ChatMessage, for_template
from agentscope_tuner.chat.parsing import (
    THINK_CLOSE,
    THINK_OPEN,
    ParsedMessage,
    Thinking,
    thinking_of,
)
from agentscope_tuner.chat.rendering import TEMPLATE_ERRORS, Tools, template_refusals, unspeakable
from agentscope_tuner.chat.streaming import StreamRules

TOOL_FORMATS = {"qwen3": "hermes", "llama-3": "llama3_json"}
"""What `tool_call_parser` calls the form in which a renderer's family writes tool calls; families
that are not listed go by their renderer's name."""


class LibraryRenderer:
    """Messages and tokens of a model family that `renderers` knows.

    Args:
        tokenizer: the model's.
        config: the library's configuration of that family.
        tool_call_parser: the family's own form, or None to leave calls in the content.
        thinking: split thinking off the content.
        eos_token_ids: end a turn besides the family's own.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: Any,
        *,
        tool_call_parser: str | None,
        thinking: bool,
        eos_token_ids: Iterable[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._parser = tool_call_parser
        self._thinking = thinking
        self._renderer = renderers.create_renderer(tokenizer, config)
        self._variant = lru_cache(maxsize=16)(self._make_variant)
        self.stop_token_ids = tuple({*self._renderer.get_stop_token_ids(), *eos_token_ids})
        self.tool_format = TOOL_FORMATS.get(config.name, config.name)
        self.hermes_calls = self.tool_format == self._parser == "hermes"

    def variant(self, kwargs: Mapping[str, Any]) -> LibraryRenderer:
        """The renderer with these template arguments; each must be one of the family's."""
        if not kwargs:
            return self
        try:
            return self._variant(json.dumps(kwargs, sort_keys=True))
        except ValueError as error:
            allowed = ", ".join(sorted(self._config.template_field_names())) or "none"
            raise RequestError(
                f"chat_template_kwargs {json.dumps(kwargs)} does not fit this model, which takes "
                f"{allowed}.",
                param="chat_template_kwargs",
            ) from error

    def _make_variant(self, kwargs: str) -> LibraryRenderer:
        return LibraryRenderer(
            self._tokenizer,
            merge_chat_template_kwargs(self._config, json.loads(kwargs)),
            tool_call_parser=self._parser,
            thinking=self._thinking,
            eos_token_ids=self.stop_token_ids,
        )

    def refuse_tools(self) -> str | None:
        """Why tools cannot be served: `tool_call_parser` names another form than the model's."""
        if self._parser in (None, self.tool_format):
            return None
        return (
            f"the model writes tool calls in the form {self.tool_format!r}, not in "
            f"{self._parser!r}; set tool_call_parser={self.tool_format!r}"
        )

    def render(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """See `ChatRenderer.render`."""
        with template_refusals():
            return self._renderer.render_ids(
                for_template(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=True,
            )

    def extend(
        self,
        prompt_ids: list[int],
        completion_ids: list[int],
        history: Sequence[ChatMessage],
        new_messages: Sequence[ChatMessage],
        tools: Tools | None,
    ) -> list[int] | None:
        """See `ChatRenderer.extend`; the library decides whether thinking would be kept."""
        try:
            bridged = self._renderer.bridge_to_next_turn(
                prompt_ids,
                completion_ids,
                for_template(new_messages),
                tools=list(tools) if tools else None,
            )
        except TEMPLATE_ERRORS:
            return None  # rendering the whole conversation says what is wrong with it
        if bridged is None:
            return None
        kept = prompt_ids + completion_ids
        ids = list(bridged.token_ids)
        return ids if ids[: len(kept)] == kept else None

    def completion(self, messages: Sequence[ChatMessage], tools: Tools | None) -> list[int]:
        """See `ChatRenderer.completion`; the library says which tokens the model samples."""
        prompt_ids = self.render(messages[:-1], tools)
        try:
            sample = build_training_sample(
                self._renderer,
                for_template(messages),
                tools=list(tools) if tools else None,
                ensure_final_stop=True,
            )
        except TEMPLATE_ERRORS as error:
            raise unspeakable(str(error)) from error
        ids = list(sample.token_ids)
        if ids[: len(prompt_ids)] != prompt_ids:
            raise unspeakable("it is written otherwise than it is asked for")
        end = max(at for at, sampled in enumerate(sample.loss_mask) if sampled) + 1
        return ids[len(prompt_ids) : end]

    def parse(
        self, completion_ids: list[int], prompt_ids: list[int], *, tools: bool
    ) -> ParsedMessage:
        """See `ChatRenderer.parse`."""
        if completion_ids[-1:] and completion_ids[-1] in self.stop_token_ids:
            completion_ids = completion_ids[:-1]
        try:
            parsed = self._renderer.parse_response(completion_ids, prompt_ids=prompt_ids)
        except RecursionError:  # JSON nested beyond what can be read is no tool call
            return ParsedMessage(self._decode(completion_ids))
        return self._message(completion_ids, parsed, tools and self._parser is not None)

    def thinking(self, prompt_ids: list[int]) -> Thinking:
        """See `ChatRenderer.thinking`."""
        return thinking_of(self._tokenizer, prompt_ids) if self._thinking else "closed"

    def stream_rules(self, prompt_ids: list[int], *, tools: bool) -> StreamRules | None:
        """See `ChatRenderer.stream_rules`."""
        if self.tool_format != "hermes":
            return None
        tags = (THINK_OPEN, THINK_CLOSE, hermes.OPEN)
        return StreamRules(
            thinking=self._thinking,
            prefilled=self.thinking(prompt_ids) == "open",
            tools=tools and self._parser is not None,
            strips=self._thinking,
            tags={self._tokenizer.encode(tag, add_special_tokens=False)[0]: tag for tag in tags},
        )

    def _message(self, ids: list[int], parsed: ParsedResponse, tools: bool) -> ParsedMessage:
        spans = [call.token_span for call in parsed.tool_calls if call.token_span is not None]
        first = min((start for start, _ in spans), default=len(ids))
        content = parsed.content
        reasoning = parsed.reasoning_content
        if not self._thinking:
            content, reasoning = self._decode(ids[:first]), None
        message = ParsedMessage(content, reasoning.strip() if reasoning else None)
        if not tools:
            before = self._decode(ids[:first])
            space = before[len(before.rstrip()) :] if content else ""
            message.content = content.rstrip() + space + self._decode(ids[first:])
            return message
        texts = [content.rstrip()] if spans else [content]
        for call in parsed.tool_calls:
            well_formed = call.status == ToolCallParseStatus.OK
            read = hermes.checked_call(call.name, call.arguments) if well_formed else None
            if read is not None:
                message.tool_calls.append(read)
            elif call.token_span is not None:
                texts.append(self._decode(ids[slice(*call.token_span)]))
        message.content = "\n".join(text for text in texts if text)
        return message

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))
