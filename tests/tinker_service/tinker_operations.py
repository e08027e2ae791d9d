"""Operations of the small service: answered at once, done later, in the order of their run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tinker_adapters import TrainingRun
from tinker_wire import UserError

LONGEST_POLL_S = 20.0

Result = bytes | dict[str, Any]
"""Protobuf, or JSON."""


@dataclass
class Training:
    """A training run and the order of its operations."""

    model_id: str
    base_model: str
    run: TrainingRun
    next_seq: int = 1
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)


class Operations:
    """What was asked for and is done by one worker, and its results."""

    def __init__(self) -> None:
        self._results: dict[str, asyncio.Task[Result]] = {}
        self._numbers = count()
        self._worker = ThreadPoolExecutor(1)

    def done(self, result: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Something that is done already."""

        async def at_once() -> Result:
            return result

        return self._later(at_once(), **more)

    def compute(self, work: Callable[[], Result], **more: Any) -> dict[str, Any]:
        """Something that the worker does; returns what says under which id its result will be."""
        return self._later(self._compute(work), **more)

    def in_turn(
        self, training: Training, seq_id: int, work: Callable[[], Result]
    ) -> dict[str, Any]:
        """The same, when all earlier operations of a training run are done."""

        async def wait_and_work() -> Result:
            async with training.turn:
                await training.turn.wait_for(lambda: training.next_seq == seq_id)
            try:
                return await self._compute(work)
            finally:
                async with training.turn:
                    training.next_seq += 1
                    training.turn.notify_all()

        return self._later(wait_and_work(), model_id=training.model_id)

    async def retrieve(self, request: Request) -> Response:
        """The result of an operation, if it is there soon."""
        task = self._results[(await request.json())["request_id"]]
        await asyncio.wait([task], timeout=LONGEST_POLL_S)
        if not task.done():
            return JSONResponse({"type": "try_again", "queue_state": "active"})
        if (error := task.exception()) is not None:
            category = "user" if isinstance(error, UserError) else "server"
            return JSONResponse({"error": str(error) or repr(error), "category": category})
        result = task.result()
        if isinstance(result, bytes):
            return Response(result, media_type="application/x-protobuf")
        return JSONResponse(result)

    def close(self) -> None:
        """End the worker."""
        self._worker.shutdown()

    def _later(self, work: Awaitable[Result], **more: Any) -> dict[str, Any]:
        name = f"request-{next(self._numbers)}"
        self._results[name] = asyncio.ensure_future(work)
        return {"request_id": name, **more}

    async def _compute(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
