"""From sampled text to the parts of a message: thinking, content, tool calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentscope_tuner.chat import hermes

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


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
            self.reasoning, stopped = _cut(self.reasoning, stops)
            if stopped:
                self.content = ""
        self.content, _ = _cut(self.content, stops)


def parse_text(text: str, *, thinking: bool, prefilled: bool, tools: bool) -> ParsedMessage:
    """Read `text` as `<think>...</think>`, content and Hermes tool calls.

    thinking: split thinking off; without it the tags stay in the content.
    prefilled: the prompt ended in an open `<think>`.
    tools: read tool calls; without it they stay in the content.
    """
    reasoning: str | None = None
    if thinking and (prefilled or text.lstrip().startswith(THINK_OPEN)):
        inside = text.lstrip().removeprefix(THINK_OPEN)
        before, _, after = inside.partition(THINK_CLOSE)
        reasoning, text = before.strip(), after.strip()
    calls: list[tuple[str, str]] = []
    if tools:
        text, calls = hermes.read_calls(text)
    return ParsedMessage(text, reasoning, calls)


def _cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
