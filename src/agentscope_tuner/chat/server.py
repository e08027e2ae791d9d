"""The endpoint on a socket, for agents that cannot be called in process."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agentscope_tuner.chat.errors import error_body
from agentscope_tuner.errors import RunError


@dataclass(frozen=True, slots=True)
class Address:
    """Where the endpoint listens, and the token that it asks for."""

    url: str
    token: str


class BearerAuth:
    """Lets requests through that carry the token; all others get a 401."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        given = dict(scope["headers"]).get(b"authorization", b"")
        if secrets.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        message = "A valid bearer token is needed: use the api_key of the workflow's model."
        body = error_body(message, "authentication_error", code="invalid_api_key")
        await JSONResponse(body, status_code=401)(scope, receive, send)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Ctrl-C belongs to the program that we are part of.
        yield


@asynccontextmanager
async def listen(app: ASGIApp, host: str, port: int) -> AsyncIterator[Address]:
    """Serve `app` on this event loop for as long as the context lasts; port 0 takes a free one.

    Raises RunError if the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise RunError(f"The endpoint cannot listen on {host}:{port}: {error}.") from error
    token = secrets.token_urlsafe(32)
    server = _Server(
        uvicorn.Config(
            BearerAuth(app, token),
            lifespan="off",
            ws="none",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    name = f"[{host}]" if ":" in host else host
    try:
        yield Address(f"http://{name}:{listener.getsockname()[1]}", token)
    finally:
        server.should_exit = True
        await serving
