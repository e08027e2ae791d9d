"""Tokens as they are sampled, as the pieces of a message that can be shown at once.

A piece is held back as long as it might still become something else: half of a UTF-8 character, the
beginning of a tag or of a stop string, white space that the finished message does not end in. From
the first tool call on nothing is shown; the finished message completes what was held back, so the
pieces always add up to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat import hermes
from agentscope_tuner.chat.messages import ChatMessage
from agentscope_tuner.chat.parsing import THINK_CLOSE, THINK_OPEN

Delta = dict[str, Any]
"""Part of a message, in the form of a chunk's `delta`."""


class Detokenizer:
    """Text of a growing list of tokens, never half a character."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0
        """Tokens whose text was given out."""
        self._context = 0
        """Where decoding begins: some tokens' text depends on the ones before."""

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; empty if it ends within a character."""
        self._ids.append(token_id)
        before = self._decode(self._ids[self._context : self._shown])
        text = self._decode(self._ids[self._context :])
        if text.endswith("\ufffd") or len(text) <= len(before):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return text[len(before) :]

    def flush(self) -> str:
        """The text of what is left, complete or not."""
        before = self._decode(self._ids[self._context : self._shown])
        text = self._decode(self._ids[self._context :])
        self._ids, self._shown, self._context = [], 0, 0
        return text[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How a model's text becomes a message."""

    thinking: bool
    """Split `<think>...</think>` off."""
    prefilled: bool
    """The prompt ended in an open `<think>`."""
    tools: bool
    """Read Hermes tool calls."""
    strips: bool = False
    """The finished content begins with no white space, even without thinking before it."""
    tags: Mapping[int, str] = field(default_factory=dict)
    """Tokens that are tags. Where there are any, the same characters in other tokens are text."""


_TAG = "\0"
"""Stands before the characters of a tag that is a token."""


class DeltaReader:
    """What may be shown of one answer while it is being sampled.

    Args:
        tokenizer: the model's.
        rules: None for a form that is read only when it is complete.
        stop_token_ids: the tokens that end the turn; they have no text.
        stops: stop strings.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rules: StreamRules | None,
        stop_token_ids: tuple[int, ...],
        stops: tuple[str, ...],
    ) -> None:
        self._rules = rules or StreamRules(thinking=False, prefilled=False, tools=False)
        self._state: Literal["start", "reasoning", "content", "held"] = "start"
        if rules is None:
            self._state = "held"
        elif not rules.thinking:
            self._state = "content"
        elif rules.prefilled:
            self._state = "reasoning"
        self._detokenizer = Detokenizer(tokenizer)
        self._stop_token_ids = stop_token_ids
        self._text = ""
        """Sampled, neither shown nor dropped yet."""
        self._shown = {"reasoning_content": "", "content": ""}
        self._strips = self._rules.strips
        mark = _TAG if self._rules.tags else ""
        self._think, self._unthink, call = mark + THINK_OPEN, mark + THINK_CLOSE, mark + hermes.OPEN
        self._ends = {
            "reasoning_content": (self._unthink, call, *stops),
            "content": (call, *stops) if self._rules.tools else stops,
        }

    def push(self, token_id: int) -> list[Delta]:
        """The deltas that this token completes."""
        if self._state == "held" or token_id in self._stop_token_ids:
            return []
        self._text += self._read(token_id)
        deltas: list[Delta] = []
        if self._state == "start":
            self._leave_start()
        if self._state == "reasoning":
            self._show("reasoning_content", deltas)
            if self._text.startswith(self._unthink):
                self._text = self._text.removeprefix(self._unthink)
                self._state, self._strips = "content", True
        if self._state == "content":
            self._show("content", deltas)
        return deltas

    def finish(self, message: ChatMessage) -> list[Delta]:
        """The deltas that complete `message`."""
        deltas: list[Delta] = []
        for part, shown in self._shown.items():
            whole = message.get(part) or ""
            assert whole.startswith(shown), f"streamed {shown!r}, but the answer is {whole!r}"
            if len(whole) > len(shown):
                deltas.append({part: whole[len(shown) :]})
        if "tool_calls" in message:
            calls = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
            deltas.append({"tool_calls": calls})
        return deltas

    def _read(self, token_id: int) -> str:
        tag = self._rules.tags.get(token_id)
        if tag is None:
            return self._detokenizer.push(token_id)
        if tag == THINK_OPEN and self._state == "reasoning":
            return ""  # a second opening tag says nothing
        text = self._detokenizer.flush()
        reads = {
            "start": (THINK_OPEN, hermes.OPEN),
            "reasoning": (THINK_CLOSE, hermes.OPEN),
        }.get(self._state, (hermes.OPEN,) if self._rules.tools else ())
        return text + (_TAG + tag if tag in reads else tag)

    def _leave_start(self) -> None:
        begun = self._text.lstrip()
        if begun.startswith(self._think):
            self._text, self._state = begun.removeprefix(self._think), "reasoning"
        elif begun and not self._think.startswith(begun):
            self._state = "content"
            self._text = self._text.replace(self._think, THINK_OPEN)  # not at the beginning: text
            if not self._rules.tools:
                self._text = self._text.replace(_TAG + hermes.OPEN, hermes.OPEN)

    def _show(self, part: str, deltas: list[Delta]) -> None:
        """Move the text that is certain to `deltas`, up to the first of the part's ends."""
        found = [at for end in self._ends[part] if (at := self._text.find(end)) >= 0]
        if found:
            certain, self._text = self._text[: min(found)], self._text[min(found) :]
            if part == "content" or not self._text.startswith(self._unthink):
                self._state = "held"
        else:
            held = max((_overlap(self._text, end) for end in self._ends[part]), default=0)
            cut = len(self._text) - held
            certain, self._text = self._text[:cut], self._text[cut:]
        if not self._shown[part] and (self._strips or part == "reasoning_content"):
            certain = certain.lstrip()
        text = certain.rstrip()
        if not found:
            self._text = certain[len(text) :] + self._text
        if text:
            self._shown[part] += text
            deltas.append({part: text})


def _overlap(text: str, end: str) -> int:
    """How many of the last characters of `text` are the beginning of `end`."""
    return next(
        (n for n in range(min(len(end) - 1, len(text)), 0, -1) if text.endswith(end[:n])), 0
    )
