"""AgentScope's chat model, as it streams with every version of the openai library."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any

from agentscope_tuner.chat_model import OpenAIChatModel


class TextChatModel(OpenAIChatModel):
    """An `OpenAIChatModel` of a model that answers with text."""

    async def _parse_openai_stream_response(
        self, start_datetime: datetime, response: Any, structured_model: Any = None
    ) -> AsyncGenerator[Any, None]:
        # The name is 1.x's; 2.x reads audio right.
        stream = _WithoutAudio(response)
        async for answer in super()._parse_openai_stream_response(
            start_datetime,
            stream,  # type: ignore[arg-type]
            structured_model,
        ):
            yield answer


class _WithoutAudio:
    """A stream whose deltas lack the field `audio`.

    From openai 3.25 on every delta has it, mostly as None, and agentscope 1.0 takes any for audio.
    """

    def __init__(self, response: Any) -> None:
        self._response = response

    async def __aenter__(self) -> AsyncIterator[Any]:
        return self._without_audio(await self._response.__aenter__())

    async def __aexit__(self, *error: object) -> None:
        await self._response.__aexit__(*error)

    async def _without_audio(self, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in stream:
            chunk = getattr(item, "chunk", item)  # a parsed stream wraps its chunks in events
            for choice in getattr(chunk, "choices", ()):
                choice.delta.__dict__.pop("audio", None)
            yield item
