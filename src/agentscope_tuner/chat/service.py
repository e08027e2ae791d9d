"""The chat service: models behind an endpoint of OpenAI's form, one URL and one key a rollout."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Mapping

from agentscope_tuner.chat.client import InProcessClient, RolloutChatModel
from agentscope_tuner.chat.endpoint import Endpoint
from agentscope_tuner.chat.remote import RemoteModel
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.server import Listener
from agentscope_tuner.chat.session import Overrides, Session
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.trajectory import AuxiliaryCall


class ChatService:
    """Serves the policy, whose tokens are recorded, and auxiliary models, whose calls are kept.

    Args:
        policy: the model behind the agent, the one that is trained.
        auxiliary: further models by name, served here or at servers of their own.

    Raises:
        InputError: an auxiliary model has the policy's name.
    """

    def __init__(
        self,
        policy: ServedModel,
        auxiliary: Mapping[str, ServedModel | RemoteModel] | None = None,
    ) -> None:
        self.policy = policy
        self.auxiliary = dict(auxiliary or {})
        if policy.name in self.auxiliary:
            raise InputError(
                f"The auxiliary model {policy.name!r} has the name of the trained model: rename it."
            )
        self.sessions: dict[str, Session] = {}
        """The open rollouts by their ids."""
        self.endpoint = Endpoint(self.sessions)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: InProcessClient | None = None
        self._listener: Listener | None = None
        self._listening = threading.Lock()

    def open(
        self,
        rollout_id: str,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> Session:
        """Begin a rollout; call it on the event loop that the samplers run on.

        Args:
            rollout_id: part of the rollout's URL, unique among open rollouts.
            temperature, top_p, top_k, max_tokens: defaults of this rollout's calls to the policy,
                in place of the model's own (evaluation).
            seed: every call without a seed of its own draws from this one and its number. None:
                from the sampler's stream.
        """
        if rollout_id in self.sessions:
            raise ValueError(f"the rollout {rollout_id!r} is open already")
        if self._client is None:
            self._loop = asyncio.get_running_loop()
            self._client = InProcessClient(self.endpoint, self._loop)
        client, key = self._client, secrets.token_urlsafe(32)

        def connected(name: str, one: ServedModel) -> RolloutChatModel:
            size = one.sampler.max_model_len
            return RolloutChatModel(name, client, rollout_id, key, self.url, size)

        def keep(call: AuxiliaryCall) -> None:
            session.keep(call)

        def forget() -> None:
            del self.sessions[rollout_id]

        served = {n: one for n, one in self.auxiliary.items() if isinstance(one, ServedModel)}
        session = Session(
            rollout_id,
            key,
            policy=self.policy,
            auxiliary=served,
            model=connected(self.policy.name, self.policy),
            auxiliary_models={
                name: connected(name, one) if isinstance(one, ServedModel) else one.connect(keep)
                for name, one in self.auxiliary.items()
            },
            overrides=Overrides(temperature, top_p, top_k, max_tokens),
            seed=seed,
            on_close=forget,
        )
        self.sessions[rollout_id] = session
        return session

    def url(self) -> str:
        """Where the endpoint listens, for agents of other libraries and in other processes.

        The first call, from whatever thread, opens a socket on the loopback interface.

        Raises:
            RunError: there is no port to be had, or the service was closed.
        """
        with self._listening:
            if self._loop is None:
                raise RunError("The model has no base_url any more: the run has ended.")
            if self._listener is None:
                self._listener = Listener(self.endpoint, self._loop)
            return self._listener.url

    async def close(self) -> None:
        """Stop listening, for good."""
        with self._listening:
            listener, self._listener, self._loop = self._listener, None, None
        if listener is not None:
            await listener.close()
