"""The APIs that the endpoint speaks, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.chat.streaming import Delta


class StreamForm(Protocol):
    """How an API writes the events of a stream."""

    def begin(self) -> bytes:
        """What comes before the first token."""
        ...

    def delta(self, index: int, delta: Delta) -> bytes:
        """What the answer `index` says next."""
        ...

    def end(self, choices: Sequence[Choice]) -> bytes:
        """How the answers ended."""
        ...

    def failed(self, error: RequestError) -> bytes:
        """What went wrong instead."""
        ...


class Api(Protocol):
    """How one kind of clients asks and is answered."""

    def parse(self, body: bytes) -> ChatRequest:
        """What a request asks for; RequestError, naming the field, for what is not served."""
        ...

    def answer(self, generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
        """The whole answer."""
        ...

    def stream(self, generation: Generation) -> StreamForm:
        """The answer as events."""
        ...

    def error(self, error: RequestError) -> dict[str, Any]:
        """The body of a refusal."""
        ...
