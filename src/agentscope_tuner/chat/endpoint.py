"""The HTTP face: OpenAI's chat-completions API, one URL a rollout.

    POST /rollouts/{rollout_id}/v1/chat/completions
    GET  /rollouts/{rollout_id}/v1/models

Every rollout has a key of its own, which its requests carry as a bearer token: it opens this
rollout and no other. The `model` field chooses among the served models. Whatever a client sends,
the answer is a result or an error in OpenAI's form; a fault of our own is a status 500 and is kept
in `Session.fault`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentscope_tuner.chat.errors import RequestError, error_body
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.request import parse_request
from agentscope_tuner.chat.responses import Chunks, completion_body, event
from agentscope_tuner.chat.session import Session, not_open

MAX_BODY = 16 * 1024 * 1024
"""Bytes that a request may have."""

_log = logging.getLogger(__name__)


class Endpoint:
    """The ASGI application.

    Args:
        sessions: the open rollouts by their ids; whoever opens and closes them changes it.
    """

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions
        self._app = Starlette(
            routes=[
                Route("/rollouts/{rollout_id}/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/rollouts/{rollout_id}/v1/models", self._models, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _no_such_route},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _models(self, request: Request) -> Response:
        try:
            session = self._session(request)
        except RequestError as error:
            return _refused(error)
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "agentscope-tuner"}
            for name in session.served
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _chat(self, request: Request) -> Response:
        session = None
        try:
            session = self._session(request)
            asked = parse_request(await _body(request))
            generation = Generation(session, session.model_named(asked.model), asked)
            if asked.stream:
                return StreamingResponse(
                    _stream(session, generation), media_type="text/event-stream"
                )
            choices = await _while_connected(request, generation)
            return JSONResponse(completion_body(generation, choices))
        except RequestError as error:
            return _refused(error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception as error:
            return JSONResponse(_fault(session, error), status_code=500)

    def _session(self, request: Request) -> Session:
        rollout_id = request.path_params["rollout_id"]
        session = self._sessions.get(rollout_id)
        if session is None:
            raise not_open(rollout_id)
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {session.key}".encode()):
            raise RequestError(
                "This rollout's own key is needed as the bearer token: use the api_key of the "
                "workflow's model.",
                code="invalid_api_key",
                status=401,
            )
        return session


async def _body(request: Request) -> bytes:
    """The request's body; RequestError if it is too long, before all of it is read."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise RequestError(
                f"The request is longer than {MAX_BODY} bytes.", status=413, code="too_large"
            )
        chunks.append(chunk)
    return b"".join(chunks)


async def _while_connected(request: Request, generation: Generation) -> list[Choice]:
    """The answers; sampling ends when the client goes away."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answers = asyncio.ensure_future(generation.run())
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait((answers, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise ClientDisconnect
        return answers.result()
    finally:
        answers.cancel()
        leaving.cancel()


async def _stream(session: Session, generation: Generation) -> AsyncIterator[bytes]:
    """The answers as server-sent events, each piece when its token is sampled."""
    chunks = Chunks(generation)
    readers = [generation.reader() for _ in range(generation.request.n or 1)]
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def on_token(index: int, token_id: int) -> None:
        for delta in readers[index].push(token_id):
            pieces.put_nowait(chunks.delta(index, delta))

    answers = asyncio.ensure_future(generation.run(on_token))
    answers.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        for index in range(len(readers)):
            yield chunks.delta(index, {"role": "assistant", "content": ""})
        while (piece := await pieces.get()) is not None:
            yield piece
        choices = answers.result()
        for index, choice in enumerate(choices):
            for delta in readers[index].finish(choice.message):
                yield chunks.delta(index, delta)
        yield chunks.end(choices)
    except RequestError as error:
        yield event(error.body())
    except Exception as error:
        yield event(_fault(session, error))
    finally:
        answers.cancel()


def _fault(session: Session | None, error: Exception) -> dict[str, object]:
    _log.error("the chat endpoint failed", exc_info=error)
    if session is not None:
        session.fault = error
    return error_body(f"internal error: {error!r}", "server_error")


def _refused(error: RequestError) -> Response:
    return JSONResponse(error.body(), status_code=error.status)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path} is not served: {error.detail}."
    return JSONResponse(
        error_body(message, "invalid_request_error"),
        status_code=error.status_code,
        headers=error.headers,
    )
