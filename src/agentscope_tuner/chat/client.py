"""The model that a workflow is given: AgentScope's own, connected to the endpoint in process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from agentscope_tuner.chat.text_model import TextChatModel
from agentscope_tuner.chat.transport import InProcessTransport, http
from agentscope_tuner.chat_model import Connection

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


class RolloutChatModel(TextChatModel):
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
        # A call that is tried again would be a second sample.
        connection = Connection(name, url, key, client.http, context_size, retries=0)
        super().__init__(**connection.arguments())
        self.model_name = name
        """What requests call it; AgentScope 2.x says `model`."""

    @property
    def base_url(self) -> str:
        """The rollout's OpenAI-compatible URL on the loopback interface.

        Reading it makes the endpoint listen; until then no socket is open.
        """
        return self._endpoint_url() + self._path
