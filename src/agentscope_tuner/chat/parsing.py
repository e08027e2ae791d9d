"""From sampled text to the parts of a message: thinking, content, tool calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat import hermes

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

Thinking = Literal["open", "closed", "possible"]
"""Whether the prompt ends inside thinking, behind it, or leaves it to the model."""


@dataclass(slots=True)
class ParsedMessage:
    """What a completion says."""

    content: str
    reasoning: str | None = None
    tool_calls: list[tuple[str, str]] = field(default_factory=list)
    """(name, arguments as the JSON text of an object)"""

    def cut_at(self, stops: tuple[str, ...]) -> None:
        """Drop the first stop string and what follows it, as OpenAI's API does."""
        if self.reasoning is not None:
            self.reasoning, stopped = cut(self.reasoning, stops)
            if stopped:
                self.content = ""
        self.content, _ = cut(self.content, stops)


def parse_text(text: str, *, thinking: bool, prefilled: bool, tools: bool) -> ParsedMessage:
    """Read `text` as `<think>...</think>`, content and Hermes tool calls.

    Args:
        text: what was sampled.
        thinking: split thinking off; without it the tags stay in the content.
        prefilled: the prompt ended in an open `<think>`.
        tools: read tool calls; without it they stay in the content.
    """
    reasoning: str | None = None
    if thinking and (prefilled or text.lstrip().startswith(THINK_OPEN)):
        before, _, after = text.lstrip().removeprefix(THINK_OPEN).partition(THINK_CLOSE)
        reasoning, text = before.strip(), after.strip()
    calls: list[tuple[str, str]] = []
    if tools:
        text, calls = hermes.read_calls(text)
    return ParsedMessage(text, reasoning, calls)


def thinking_of(tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int]) -> Thinking:
    """Where the prompt leaves thinking."""
    tail = str(tokenizer.decode(prompt_ids[-8:], skip_special_tokens=False)).rstrip()
    if tail.endswith(THINK_OPEN):
        return "open"
    return "closed" if tail.endswith(THINK_CLOSE) else "possible"


def cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
