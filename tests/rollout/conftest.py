"""A chat service without a model: sessions whose chat model answers by a function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import openai
import pytest
from agentscope.message import TextBlock
from agentscope.model import ChatModelBase, ChatResponse

from agentscope_tuner.trajectory import AuxiliaryCall, Call, Sampled, Segment, Trajectory


class ScriptedModel(ChatModelBase):
    """Answers what `reply` says, records it, and fails once its session is closed."""

    def __init__(self, session: ScriptedSession) -> None:
        super().__init__("scripted", stream=False)
        self.session = session

    async def __call__(self, *args: Any, **kwargs: Any) -> ChatResponse:
        self.session.refuse_if_closed()
        text = await self.session.service.reply(self.session.rollout_id)
        self.session.refuse_if_closed()
        self.session.record(text)
        return ChatResponse(content=[TextBlock(type="text", text=text)])


class ScriptedSession:
    def __init__(self, service: ScriptedService, rollout_id: str, options: dict) -> None:
        self.service = service
        self.rollout_id = rollout_id
        self.options = options
        self.trajectory = Trajectory()
        self.auxiliary_calls: list[AuxiliaryCall] = []
        self.model = ScriptedModel(self)
        self.auxiliary_models = {"helper": ScriptedModel(self)}
        self.closed = False
        self.fault: BaseException | None = None

    def close(self) -> None:
        self.closed = True

    def refuse_if_closed(self) -> None:
        if self.closed:
            request = httpx.Request("POST", "http://scripted/v1/chat/completions")
            raise openai.APIConnectionError(message="the session is closed", request=request)

    def record(self, text: str) -> None:
        trajectory = self.trajectory
        trajectory.segments.append(Segment(None, [1, 2, 3]))
        tokens = [ord(character) for character in text]
        sampled = Sampled([-0.5] * len(tokens), [False] * len(tokens), "scripted", 0)
        trajectory.segments.append(Segment(len(trajectory.segments) - 1, tokens, sampled))
        message = {"role": "assistant", "content": text}
        trajectory.calls.append(
            Call(len(trajectory.segments) - 1, [{"role": "user"}], None, message, "stop")
        )


class ScriptedService:
    """Remembers every session it opened."""

    def __init__(self, reply: Callable[[str], Awaitable[str]] | None = None) -> None:
        self.sessions: list[ScriptedSession] = []
        self.reply = reply or self._hello

    async def _hello(self, rollout_id: str) -> str:
        await asyncio.sleep(0)
        return "hello"

    def open(self, rollout_id: str, **options: Any) -> ScriptedSession:
        self.sessions.append(ScriptedSession(self, rollout_id, options))
        return self.sessions[-1]


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()
