"""The HTTP face: OpenAI's chat-completions API, one URL a rollout.

    POST /rollouts/{rollout_id}/v1/chat/completions
    GET  /rollouts/{rollout_id}/v1/models

The `model` field chooses among the served models. Whatever a client sends, the answer is a result
or an error in OpenAI's form; a fault of our own is a status 500 and is kept in `Session.fault`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentscope_tuner.chat.errors import RequestError, error_body
from agentscope_tuner.chat.generation import Generation
from agentscope_tuner.chat.request import parse_request
from agentscope_tuner.chat.responses import completion_body
from agentscope_tuner.chat.session import Session, not_open

if TYPE_CHECKING:
    from agentscope_tuner.chat.service import ChatService

MAX_BODY = 16 * 1024 * 1024
"""Bytes that a request may have."""


class Endpoint:
    """The ASGI application of a `ChatService`."""

    def __init__(self, service: ChatService) -> None:
        self._service = service
        self._app = Starlette(
            routes=[
                Route("/rollouts/{rollout_id}/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/rollouts/{rollout_id}/v1/models", self._models, methods=["GET"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _models(self, request: Request) -> Response:
        try:
            self._session(request)
        except RequestError as error:
            return _refused(error)
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "agentscope-tuner"}
            for name in self._service.served_names
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _chat(self, request: Request) -> Response:
        session = None
        try:
            session = self._session(request)
            body = parse_request(await _body(request))
            generation = Generation(session, session.model_named(body.model), body)
            return JSONResponse(completion_body(generation, await generation.run()))
        except RequestError as error:
            return _refused(error)
        except Exception as error:
            if session is not None:
                session.fault = error
            return JSONResponse(
                error_body(f"internal error: {error!r}", "server_error"), status_code=500
            )

    def _session(self, request: Request) -> Session:
        rollout_id = request.path_params["rollout_id"]
        session = self._service.find(rollout_id)
        if session is None:
            raise not_open(rollout_id)
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


def _refused(error: RequestError) -> Response:
    return JSONResponse(error.body(), status_code=error.status)
