"""A chat model that answers by rule, and tasks for it: no network, no weights."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from agentscope.message import TextBlock
from agentscope.model import ChatModelBase, ChatResponse
from agentscope.model._model_usage import ChatUsage


class Scripted(ChatModelBase):
    """Answers what `answer(messages)` says."""

    def __init__(
        self,
        name: str,
        answer: Callable[[list[dict[str, Any]]], str],
        *,
        tokens: tuple[int, int] | None = (10, 2),
        stream: bool = False,
    ) -> None:
        super().__init__(name, stream)
        self.answer, self.tokens = answer, tokens
        self.calls = 0

    async def __call__(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        text = self.answer(messages)
        usage = None if self.tokens is None else ChatUsage(*self.tokens, 0.0)
        whole = ChatResponse([TextBlock(type="text", text=text)], usage=usage)
        if not self.stream:
            return whole
        return self._pieces(whole)

    async def _pieces(self, whole: ChatResponse) -> AsyncIterator[ChatResponse]:
        yield ChatResponse([TextBlock(type="text", text="...")])
        yield whole


def write_tasks(directory: Path, number: int) -> Path:
    path = directory / "tasks.jsonl"
    path.write_text("".join(json.dumps({"n": n, "answer": str(n)}) + "\n" for n in range(number)))
    return path
