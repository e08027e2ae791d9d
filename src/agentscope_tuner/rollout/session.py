"""What a rollout needs of the chat room: a session of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from agentscope_tuner.trajectory import AuxiliaryCall, Trajectory


class Session(Protocol):
    """One attempt's own models, and the record of what it said to them."""

    @property
    def trajectory(self) -> Trajectory: ...

    @property
    def model(self) -> Any:
        """A chat model of its own, which the agent may change as it likes."""
        ...

    @property
    def auxiliary_models(self) -> Mapping[str, Any]: ...

    @property
    def auxiliary_calls(self) -> list[AuxiliaryCall]:
        """What was said to the auxiliary models so far."""
        ...

    @property
    def fault(self) -> BaseException | None:
        """A fault of the service itself, which no user's function caused: the run must stop."""
        ...

    def close(self) -> None:
        """Fail every call from now on; nothing is recorded any more. May be called twice."""
        ...


class ChatService(Protocol):
    """Opens sessions."""

    def open(
        self,
        rollout_id: str,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> Session:
        """A session with models of its own; None keeps what the model's configuration says."""
        ...
