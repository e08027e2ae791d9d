"""The HTTP face, one URL a rollout.

    POST /rollouts/{rollout_id}/v1/chat/completions   OpenAI's chat completions
    POST /rollouts/{rollout_id}/v1/completions        OpenAI's completions
    POST /rollouts/{rollout_id}/v1/responses          OpenAI's responses
    POST /rollouts/{rollout_id}/v1/messages           Anthropic's messages
    GET  /rollouts/{rollout_id}/v1/models

Every rollout has a key of its own, which its requests carry as a bearer token: it opens this
rollout and no other. The `model` field chooses among the served models. Whatever a client sends,
the answer is a result or an error in OpenAI's form; a status 500 is a fault of our own, in this
call alone. A fault of the sampler is kept in `Session.fault` besides.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from functools import partial
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentscope_tuner.chat.answer_stream import AnswerStream, left
from agentscope_tuner.chat.api import Api
from agentscope_tuner.chat.chat_api import ChatApi
from agentscope_tuner.chat.completions_api import CompletionsApi
from agentscope_tuner.chat.errors import RequestError, error_body
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.limits import MAX_BODY
from agentscope_tuner.chat.messages_api import MessagesApi
from agentscope_tuner.chat.preparation import prepare
from agentscope_tuner.chat.responses_api import ResponsesApi
from agentscope_tuner.chat.session import Session, not_open
from agentscope_tuner.chat.work import off_loop

SHORT = 64 * 2**10
"""Bytes of a request that is read at once; a longer one is read beside the event loop."""

APIS: Mapping[str, Api] = {
    "chat/completions": ChatApi(),
    "completions": CompletionsApi(),
    "responses": ResponsesApi(),
    "messages": MessagesApi(),
}
"""Under a rollout's URL."""

_ROOT = "/rollouts/{rollout_id}/v1"
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
                *(
                    Route(f"{_ROOT}/{path}", partial(self._answer, api), methods=["POST"])
                    for path, api in APIS.items()
                ),
                Route(f"{_ROOT}/models", self._models, methods=["GET"]),
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

    async def _answer(self, api: Api, request: Request) -> Response | AnswerStream:
        try:
            session = self._session(request)
            body = await _body(request)
            asked = api.parse(body) if len(body) <= SHORT else await off_loop(api.parse, body)
            generation = Generation(session, await prepare(session, asked))
            if asked.stream:
                return AnswerStream(generation, api.stream(generation))
            choices = await _while_connected(request, generation)
            return JSONResponse(api.answer(generation, choices))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception as error:
            refusal = error
            if not isinstance(refusal, RequestError):
                _log.error("the chat endpoint failed", exc_info=error)
                refusal = RequestError.internal(error)
            return JSONResponse(api.error(refusal), status_code=refusal.status)

    def _session(self, request: Request) -> Session:
        rollout_id = unquote(request.path_params["rollout_id"])
        session = self._sessions.get(rollout_id)
        if session is None:
            raise not_open(rollout_id)
        headers = request.headers
        given = headers.get("authorization") or f"Bearer {headers.get('x-api-key', '')}"
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
    """The answers, recorded; sampling ends when the client goes away, and nothing is recorded."""
    answers = asyncio.ensure_future(generation.sample())
    leaving = asyncio.ensure_future(left(request.receive))
    try:
        await asyncio.wait((answers, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise ClientDisconnect
        choices = answers.result()
        generation.record(choices)
        return choices
    except BaseException:
        generation.give_up()
        raise
    finally:
        answers.cancel()
        leaving.cancel()


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
