"""An answer as server-sent events, each piece when its token is sampled.

A client that goes away in the middle ends the sampling. What it has taken is recorded as an answer
that was abandoned there; what was sampled beyond that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from starlette.types import Receive, Scope, Send

from agentscope_tuner.chat.api import StreamForm
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.generation import Choice, Generation

_log = logging.getLogger(__name__)


class AnswerStream:
    """The ASGI response that streams a generation.

    Args:
        generation: not sampled yet.
        form: writes the events.
    """

    def __init__(self, generation: Generation, form: StreamForm) -> None:
        self._generation = generation
        self._form = form
        self._readers = [generation.reader() for _ in range(generation.request.n or 1)]
        self._sampled = [0] * len(self._readers)
        """Tokens of each answer so far."""
        self._taken = [0] * len(self._readers)
        """Tokens of each answer up to the last piece that the client has taken."""
        self._pieces: asyncio.Queue[tuple[bytes, int, int] | Exception | None] = asyncio.Queue()
        """Each with the answer that it is of, and how many of its tokens it ends."""
        self._settled = False
        """Whether the answers were recorded or given up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; returns when the sampling has ended."""
        sampling = asyncio.ensure_future(self._generation.sample(self._on_token))
        sampling.add_done_callback(lambda _: self._pieces.put_nowait(None))
        sending = asyncio.ensure_future(self._send(send, sampling))
        leaving = asyncio.ensure_future(left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not self._settled:
                self._abandon(sending, sampling)
                await asyncio.wait((sampling,))
        finally:
            self._abandon(sending, sampling)
            leaving.cancel()

    def _abandon(self, sending: asyncio.Task[None], sampling: asyncio.Task[list[Choice]]) -> None:
        """Send no more, sample no more; does nothing if all is done."""
        sending.cancel()
        if any(self._taken):
            self._generation.abandon()
        else:
            sampling.cancel()  # nothing of it will be kept
        sampling.add_done_callback(self._settle)

    def _on_token(self, index: int, token_id: int) -> None:
        self._sampled[index] += 1
        try:
            for delta in self._readers[index].push(token_id):
                piece = self._form.delta(index, delta)
                self._pieces.put_nowait((piece, index, self._sampled[index]))
        except Exception as error:
            self._pieces.put_nowait(error)

    async def _send(self, send: Send, sampling: asyncio.Task[list[Choice]]) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _send_body(send, self._form.begin())
            while (piece := await self._pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                event, index, tokens = piece
                await _send_body(send, event)
                self._taken[index] = tokens
            choices = sampling.result()
            rest = [
                self._form.delta(index, delta)
                for index, choice in enumerate(choices)
                for delta in self._readers[index].finish(choice.message)
            ]
            self._generation.record(choices)
            self._settled = True
            end = b"".join([*rest, self._form.end(choices)])
        except OSError:
            return  # the client has left
        except Exception as error:
            end = self._form.failed(_as_refusal(error))
            if not self._settled:
                self._settled = True
                self._generation.give_up()
        with contextlib.suppress(OSError):
            await _send_body(send, end, more=False)

    def _settle(self, sampling: asyncio.Task[list[Choice]]) -> None:
        """Record what an abandoned stream has given, unless all is settled."""
        if self._settled:
            return
        self._settled = True
        if sampling.cancelled() or sampling.exception() is not None:
            self._generation.give_up()
            return
        received = self._generation.received(sampling.result(), self._taken)
        try:
            self._generation.record(received)
        except RequestError:
            received = []
        if not received:
            self._generation.give_up()


async def left(receive: Receive) -> None:
    """Returns when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_body(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _as_refusal(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    _log.error("a stream of the chat endpoint failed", exc_info=error)
    return RequestError.internal(error)
