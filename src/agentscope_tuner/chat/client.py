"""The model that a workflow is given: AgentScope's own, connected to the endpoint in process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from agentscope_tuner.chat.transport import InProcessTransport, http
from agentscope_tuner.chat_model import Connection, OpenAIChatModel

# AgentScope prints every agent's every message; of hundreds of concurrent rollouts nobody can
# read that. It reads the variable when an agent is
# built, and a user's own value wins.
os.environ.setdefault("AGENTSCOPE_DISABLE_CONSOLE_OUTPUT", "true")


class _SharedClient(http.AsyncClient):
    async def aclose(self) -> None:
        """Nothing: a workflow that closes its model's client would close everybody's."""


class InProcessClient:
    """What the models of all rollouts share: one HTTP client on the in-process transport."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        # Without trust_env a proxy in the environment would be asked for these requests.
        self.http = _SharedClient(
            transport=InProcessTransport(app, loop), trust_env=False, timeout=None
        )


class RolloutChatModel(OpenAIChatModel):
    """An `OpenAIChatModel` of one rollout.

    Agents of other libraries, and in other processes, reach the same rollout by `base_url`,
    `api_key` and `model_name`.

    It answers as a whole (`stream=False`); an agent may set `model.stream = True`.
    """

    def __init__(
        self,
        name: str,
        client: InProcessClient,
        rollout_id: str,
        key: str,
        endpoint_url: Callable[[], str],
        context_size: int,
    ) -> None:
        # Quoted twice, as whoever routes unquotes once: names of datasets may hold a slash.
        self._path = f"/rollouts/{quote(quote(rollout_id, safe=''))}/v1"
        self._endpoint_url = endpoint_url
        self.api_key = key
        """The rollout's own key: the bearer token that `base_url` asks for."""
        url = f"http://in-process{self._path}"
        connection = Connection(name, url, key, client.http, context_size)
        super().__init__(**connection.arguments())
        self.model_name = name
        """What requests call it; AgentScope 2.x says `model`."""

    @property
    def base_url(self) -> str:
        """The rollout's OpenAI-compatible URL on the loopback interface.

        Reading it makes the endpoint listen; until then no socket is open.
        """
        return self._endpoint_url() + self._path

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
