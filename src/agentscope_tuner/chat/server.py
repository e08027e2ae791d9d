"""The endpoint on a socket, for agents that cannot be called in process."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from agentscope_tuner.errors import RunError

HOST = "127.0.0.1"


class Listener:
    """Serves an application on a free port of the loopback interface, from now until `close`.

    Args:
        app: decides itself whom it answers; every program on this machine can ask.
        loop: the running event loop that serves; the constructor may be called from other threads.

    Raises:
        RunError: there is no port to be had.
    """

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        listener = socket.socket()
        try:
            listener.bind((HOST, 0))
            listener.listen()  # from here on clients can connect; they wait for the loop
        except OSError as error:
            listener.close()
            raise RunError(f"The chat endpoint cannot listen on {HOST}: {error}.") from error
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        # The server outlives the rollout that asked first, and has no part in its context.
        self._serving = contextvars.Context().run(
            asyncio.run_coroutine_threadsafe, self._server.serve(sockets=[listener]), loop
        )

    async def close(self) -> None:
        """End the connections and free the port."""
        self._server.should_exit = True
        await asyncio.wrap_future(self._serving)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:  # closed before it began: uvicorn would leave it at that
            await self.shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ctrl-C belongs to the program that we are part of.
        yield
