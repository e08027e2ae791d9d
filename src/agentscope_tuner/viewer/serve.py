"""Listening: a free port on the loopback interface, and a browser that is shown the address."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from agentscope_tuner.listening import listen
from agentscope_tuner.viewer.access import Guard
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.server import create_app


def serve(
    library: Library,
    *,
    host: str,
    port: int | None,
    browser: bool,
    path: str = "",
    say: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C.

    Args:
        host: the interface to listen on.
        port: None takes a free one.
        browser: whether to open the address in one.
        path: what to show first, as the front end's address has it (`#/run/...`).
        say: is told the address.

    Raises InputError if the port is taken or the interface is none of this machine's.
    """
    listener = listen(host, port)
    number = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{number}/?token={token}{path}"
    app = create_app(library)
    guarded = Guard(app, token, host, number)
    config = uvicorn.Config(guarded, log_level="warning", lifespan="off")
    server = Server(config, app.state.ending)
    say(f"{address}\nCtrl-C ends it. From another machine: ssh -L {number}:127.0.0.1:{number} ...")
    if browser and not webbrowser.open(address):
        say("There is no browser to be opened here: open the address above.")
    asyncio.run(server.serve(sockets=[listener]))


class Server(uvicorn.Server):
    """Ends its streams of events when it is asked to end; it would wait for them for ever."""

    def __init__(self, config: uvicorn.Config, ending: threading.Event) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let everybody go."""
        self._ending.set()
        await super().shutdown(sockets)
