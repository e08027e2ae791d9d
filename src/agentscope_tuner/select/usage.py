"""What a rollout's calls of a model cost: every call of one copy of the model is counted."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from agentscope_tuner.chat_model import ChatModelBase


@dataclass(slots=True)
class Usage:
    """Tokens, as the model reports them."""

    calls: int = 0
    unreported: int = 0
    """Calls of which the model reports no tokens."""
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, answer: Any) -> None:
        """Count the last, or only, piece of an answer."""
        usage = None if answer is None else answer.usage
        if usage is None:
            self.unreported += 1
            return
        self.input_tokens += int(usage.input_tokens)
        self.output_tokens += int(usage.output_tokens)

    def metrics(self) -> dict[str, float]:
        """The token counts; none if any call went unreported, as the sum would be a lie."""
        if self.unreported:
            return {}
        return {
            "input_tokens": float(self.input_tokens),
            "output_tokens": float(self.output_tokens),
            "total_tokens": float(self.input_tokens + self.output_tokens),
        }


def counted(model: ChatModelBase, usage: Usage) -> ChatModelBase:
    """A copy of `model` of the same class that adds each call to `usage`.

    A copy, as agents change their model's attributes (`stream`), and rollouts run side by side.
    """
    twin = copy.copy(model)
    model_class: Any = type(model)
    twin.__class__ = _counting(model_class)
    twin._usage = usage  # type: ignore[attr-defined]
    return twin


class _Counting:
    _usage: Usage

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        answer = await super().__call__(*args, **kwargs)  # type: ignore[misc]
        self._usage.calls += 1
        if isinstance(answer, AsyncIterable):
            return self._streamed(answer)
        self._usage.add(answer)
        return answer

    async def _streamed(self, pieces: AsyncIterable[Any]) -> AsyncIterator[Any]:
        last = None  # pieces are cumulative
        try:
            async for piece in pieces:
                last = last if piece.usage is None else piece
                yield piece
        finally:
            self._usage.add(last)


@cache
def _counting(model_class: type) -> type:
    return type(model_class.__name__, (_Counting, model_class), {})
