"""The server: pages as JSON, the front end's files, and events when a run has changed.

    GET /                 the front end
    GET /static/<file>    its parts
    GET /api/<page>       a page of `pages`, by the query's parameters
    GET /api/events       `run`: server-sent events, one when the run's files have changed
    GET /api/pulse        the same once, for clients that cannot listen

Nothing is written, and no parameter is a path.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agentscope_tuner.errors import TunerError
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.pages import PAGES

TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html", "txt": "text/plain"}
STATIC = {
    file.name: file.read_bytes()
    for directory in ("static", "static/vendor")
    for file in (files("agentscope_tuner.viewer") / directory).iterdir()
    if file.name.rpartition(".")[2] in TYPES
}
"""The front end's files by name; no other names are served."""
LOOK_EVERY_S = 1.0
_BEAT_S = 15.0


def create_app(library: Library) -> Starlette:
    """The application, which `access.Guard` belongs around."""
    app = Starlette(
        routes=[
            Route("/", _front),
            Route("/static/{name}", _static),
            Route("/api/events", _events),
            Route("/api/pulse", _pulse),
            Route("/api/{page}", _page),
        ],
        exception_handlers={HTTPException: _no_such_page},
    )
    app.add_middleware(GZipMiddleware, minimum_size=4096, compresslevel=1)
    app.state.library = library
    app.state.ending = threading.Event()  # set: whoever listens for events is let go
    return app


def to_json(content: Any) -> bytes:
    """JSON that browsers read: numbers that it does not know are null."""
    try:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(content), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


async def _front(request: Request) -> Response:
    return _file(request, "index.html")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404)
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    return _cached(request, STATIC[name], f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8")


async def _page(request: Request) -> Response:
    page = PAGES.get(request.path_params["page"])
    if page is None:
        raise HTTPException(404)

    def answer() -> bytes:
        return to_json(page(request.app.state.library, request.query_params))

    try:
        return _cached(request, await run_in_threadpool(answer), "application/json")
    except TunerError as error:
        return JSONResponse({"error": str(error)}, 404)
    except (KeyError, ValueError):
        return JSONResponse(
            {"error": f"{request.url.query!r} is not what this page asks for."}, 400
        )
    except OSError as error:
        return JSONResponse({"error": f"{error.filename} cannot be read: {error.strerror}."}, 404)


async def _pulse(request: Request) -> Response:
    try:
        run = request.app.state.library.run(request.query_params.get("run", ""))
    except TunerError as error:
        return JSONResponse({"error": str(error)}, 404)
    return Response(_at_this_time(to_json(run.pulse())), media_type="application/json")


async def _events(request: Request) -> Response:
    try:
        run = request.app.state.library.run(request.query_params.get("run", ""))
    except TunerError as error:
        return JSONResponse({"error": str(error)}, 404)

    ending = request.app.state.ending

    async def changes() -> AsyncIterator[bytes]:
        last, silence = b"", 0.0
        while not ending.is_set() and not await request.is_disconnected():
            now = to_json(await run_in_threadpool(run.pulse))
            if now != last:
                last, silence = now, 0.0
                yield b"data: " + _at_this_time(now) + b"\n\n"
            elif silence > _BEAT_S:
                silence = 0.0
                yield b": still here\n\n"
            silence += LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)

    headers = {"cache-control": "no-store", "content-encoding": "identity"}
    return StreamingResponse(changes(), media_type="text/event-stream", headers=headers)


def _at_this_time(pulse: bytes) -> bytes:
    """With this machine's clock (`at`), so that the browser can go on counting."""
    return b'{"at":%.3f,%s' % (time.time(), pulse[1:])


def _cached(request: Request, content: bytes, media_type: str) -> Response:
    """The content, or that it is what the client has already."""
    tag = f'"{sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match", "").removeprefix("W/") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "There is nothing here."}, error.status_code)
