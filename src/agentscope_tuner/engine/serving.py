"""A tuned model by itself behind the chat endpoint, for clients and for people."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from agentscope_tuner.chat.errors import error_body
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.config.resolve import auxiliary_settings, resolve
from agentscope_tuner.config.schema import ChatModelSettings
from agentscope_tuner.engine.models import (
    ModelFiles,
    default_device,
    serve,
    start_sampler,
)
from agentscope_tuner.engine.run_directory import CONFIG_FILE
from agentscope_tuner.engine.source import find_source, short_name


def settings_of(given: str) -> tuple[str, ChatModelSettings]:
    """What a run, a checkpoint or a model is called, and how it is sampled: as in its run.

    Raises InputError: no model, or a damaged checkpoint.
    """
    source = find_source(given)
    for place in (Path(given).expanduser(), Path(source).parent):
        if (place / STATE_FILE).is_file() and (place / CONFIG_FILE).is_file():
            settings = resolve(config_path=place / CONFIG_FILE).trained_model()
            return place.name, replace(settings, model_path=source)
    [settings] = auxiliary_settings({"model": {"model_path": source}}).values()
    return short_name(given, source), settings


@asynccontextmanager
async def serving(name: str, settings: ChatModelSettings) -> AsyncIterator[ChatService]:
    """Load a model and serve it. Raises InputError if it is none that can be served."""
    files, device = ModelFiles.find(settings.model_path), default_device()
    sampler = start_sampler(settings, files, None, device, deterministic=False)
    try:
        service = ChatService(serve(name, settings, files, sampler))
        yield service
        await service.close()
    finally:
        await sampler.close()


class OpenAI:
    """The endpoint at OpenAI's own paths (`/v1/chat/completions`, ...): a session a request.

    Args:
        key: that requests carry as their bearer token (or `x-api-key`).
    """

    def __init__(self, service: ChatService, key: str) -> None:
        self._service = service
        self._key = key
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name: value for name, value in scope["headers"]}
        given = headers.get(b"authorization") or b"Bearer " + headers.get(b"x-api-key", b"")
        if not secrets.compare_digest(given, f"Bearer {self._key}".encode()):
            body = error_body("The key is missing or wrong.", "authentication_error")
            await JSONResponse(body, status_code=401)(scope, receive, send)
            return
        session = self._service.open(f"request-{next(self._numbers)}")
        try:
            own = [(b"authorization", f"Bearer {session.key}".encode())]
            kept = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            path = f"/rollouts/{session.rollout_id}{scope['path']}"
            inner = {**scope, "path": path, "raw_path": path.encode(), "headers": kept + own}
            await self._service.endpoint(inner, receive, send)
        finally:
            session.close()
