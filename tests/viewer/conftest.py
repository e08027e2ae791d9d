"""Runs to look at, a server that really listens, a browser that really looks."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browser import Browser, find_chromium
from made_runs import TOKEN, make_hostile_run, make_run

from agentscope_tuner.viewer.access import Guard
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.serve import Server
from agentscope_tuner.viewer.server import create_app


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A directory of two ordinary runs and a hostile one."""
    make_run(tmp_path / "P" / "one")
    make_run(tmp_path / "P" / "two", lr=1e-4)
    make_hostile_run(tmp_path / "P" / "hostile")
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Listens on runs in a thread of its own; returns the address that opens them."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(directory: Path) -> str:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = create_app(Library(directory))
        guarded: Any = Guard(app, TOKEN, "127.0.0.1", port)
        config = uvicorn.Config(guarded, log_level="error", lifespan="off")
        server = Server(config, app.state.ending)
        work = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        work.start()
        servers.append((server, work))
        return f"http://127.0.0.1:{port}/?token={TOKEN}"

    yield start
    for server, work in servers:
        server.should_exit = True
        work.join()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    if find_chromium() is None:
        pytest.skip("There is no Chromium: apt-get install chromium, or put one on the PATH.")
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The browser as if it were new."""
    chromium.call("Network.clearBrowserCookies")
    chromium.open("about:blank")
    chromium.resize(1280, 900)
    chromium.prefer("light")
    chromium.events.clear()
    return chromium
