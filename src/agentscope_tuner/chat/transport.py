"""HTTP without a socket: requests go straight to an ASGI application, answers come as made.

Workflows may run agents in threads with event loops of their own; the application always runs on
the service's loop. A part of an answer counts as sent when the client has taken it, so the
application knows what a client that leaves in the middle has seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import openai
from starlette.types import ASGIApp, Message, Scope

# openai 2.x speaks httpx, 3.x its successor httpx2; they have the same interface.
http: Any = importlib.import_module(
    openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
)


class InProcessTransport(http.AsyncBaseTransport):
    """The client's side: an HTTP transport.

    Args:
        app: answers the requests.
        loop: the running event loop that it answers on.
    """

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; the response is there when its head is, its body comes piece by piece."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
        }
        exchange = _Exchange(self._app, self._loop, scope, await request.aread())
        try:
            head = await exchange.next()
        except BaseException:
            exchange.leave()
            raise
        assert head is not None
        return http.Response(head["status"], headers=head["headers"], stream=_Body(exchange))


class _Body(http.AsyncByteStream):
    """A response's body, while it is being made."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._exchange.next()) is not None:
            yield message.get("body", b"")
            if not message.get("more_body", False):
                break

    async def aclose(self) -> None:
        """Leave, and wait until the application has noticed."""
        await self._exchange.close()


class _Exchange:
    """One request and its answer, between the client's loop and the application's."""

    def __init__(
        self, app: ASGIApp, loop: asyncio.AbstractEventLoop, scope: Scope, body: bytes
    ) -> None:
        self._app = app
        self._here = asyncio.get_running_loop()
        self._there = loop
        self._scope = scope
        self._body: bytes | None = body
        self._messages: asyncio.Queue[tuple[Message | BaseException | None, Callable[[], None]]]
        self._messages = asyncio.Queue()
        self._ended = False
        self._taken = False
        """Whether the client has taken the last message."""
        self._left = asyncio.Event()
        self._moved = asyncio.Event()
        """The client has taken the last message, or has left."""
        self._done: Future[None] | asyncio.Task[None]
        if self._here is loop:
            self._done = loop.create_task(self._serve())
        else:
            self._done = asyncio.run_coroutine_threadsafe(self._serve(), loop)

    async def next(self) -> Message | None:
        """The answer's next message; None after the last. Raises what the application raised."""
        if self._ended:
            return None
        message, taken = await self._messages.get()
        taken()
        if isinstance(message, BaseException):
            self._ended = True
            raise message
        self._ended = message is None
        return message

    def leave(self) -> None:
        """Tell the application that nobody reads on."""
        _call(self._there, self._left.set)
        _call(self._there, self._moved.set)

    async def close(self) -> None:
        """`leave`, and wait for the application to end."""
        self.leave()
        done = self._done
        await asyncio.wait({asyncio.wrap_future(done) if isinstance(done, Future) else done})

    async def _serve(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            self._post(None, lambda: None)
        except BaseException as error:
            self._post(error, lambda: None)
            if not isinstance(error, Exception):
                raise

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        """Returns when the client has taken the message; OSError if it has left (as ASGI says)."""
        self._taken = False
        if not self._left.is_set():
            self._moved.clear()
            self._post(message, lambda: _call(self._there, self._take))
            await self._moved.wait()
        if not self._taken:
            raise OSError("the client has left")

    def _take(self) -> None:
        self._taken = True
        self._moved.set()

    def _post(self, message: Message | BaseException | None, taken: Callable[[], None]) -> None:
        _call(self._here, self._messages.put_nowait, (message, taken))


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Call on a loop, at once if it is the one that runs; a closed loop has nobody to tell."""
    try:
        if asyncio.get_running_loop() is loop:
            callback(*args)
            return
    except RuntimeError:
        pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)
