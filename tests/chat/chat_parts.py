"""Samplers that say what a test wants, and a client without an SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import httpx
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.served import ServedModel, serve_model
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.inference.base import Completion, SamplingParams


@dataclass
class ScriptedSampler:
    """Samples what `say` answers to a prompt; keeps what it was asked and what it said."""

    say: Callable[[list[int], SamplingParams], list[int]]
    max_model_len: int = 4096
    version: int = 0
    version_changes: list[tuple[int, int]] = field(default_factory=list)
    delay: Callable[[], float] = lambda: 0.0
    asked: list[tuple[list[int], SamplingParams]] = field(default_factory=list)
    said: list[tuple[list[int], list[int]]] = field(default_factory=list)
    cancelled: int = 0

    async def sample(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        on_token: Callable[[int], None] | None = None,
        abandoned: Callable[[], bool] | None = None,
    ) -> Completion:
        prompt_ids = list(prompt_ids)
        self.asked.append((prompt_ids, params))
        ids = self.say(prompt_ids, params)
        try:
            await asyncio.sleep(self.delay())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finish = "stop" if len(ids) <= params.max_tokens else "length"
        ids = ids[: params.max_tokens]
        for token in ids if on_token else ():
            on_token(token)
        self.said.append((prompt_ids, ids))
        logprobs = [-0.125 * (1 + at % 8) for at in range(len(ids))]
        top = [[(token, -0.5)] * params.top_logprobs for token in ids]
        return Completion(
            ids, logprobs, [False] * len(ids), {}, finish, 7, 0, top, self.version_changes
        )

    async def load_weights(self, weights: Mapping[str, Tensor], version: int) -> None:
        self.version = version

    async def close(self) -> None:
        pass


def saying(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], **options: Any
) -> ScriptedSampler:
    """A sampler that says one text after the other, each ended by the end-of-turn token."""
    lines = iter(texts)

    def say(prompt_ids: list[int], params: SamplingParams) -> list[int]:
        return [*tokenizer.encode(next(lines), add_special_tokens=False), tokenizer.eos_token_id]

    return ScriptedSampler(say, **options)


def serve(tokenizer: PreTrainedTokenizerBase, sampler: Any, **options: Any) -> ChatService:
    """A service of one policy; the model's type follows from its tokenizer."""
    return ChatService(replace(_served(tokenizer, **options), sampler=sampler))


@cache
def _served(tokenizer: PreTrainedTokenizerBase, **options: Any) -> ServedModel:
    model_type = "qwen3" if "<think>" in tokenizer.get_vocab() else "llama"
    options = {"max_tokens": 256, "model_type": model_type, **options}
    return serve_model("policy", saying(tokenizer, []), tokenizer, **options)


class Client:
    """Posts to one rollout's URL without an SDK."""

    def __init__(self, service: ChatService, rollout_id: str = "r1") -> None:
        self.rollout_id = rollout_id
        self._sessions = service.sessions
        self._key = ""
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(service.endpoint),
            base_url="http://endpoint",
        )

    async def raw(self, **options: Any) -> httpx.Response:
        """Post whatever is given, with the rollout's key as long as there is one."""
        if self.rollout_id in self._sessions:
            self._key = self._sessions[self.rollout_id].key
        return await self._http.post(
            f"/rollouts/{self.rollout_id}/v1/chat/completions",
            headers={"Authorization": f"Bearer {self._key}"},
            **options,
        )

    async def ask(self, messages: list[dict[str, Any]] | str, **fields: Any) -> httpx.Response:
        """Post a chat request to the policy."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return await self.raw(json={"model": "policy", "messages": messages, **fields})

    async def message(self, *args: Any, **fields: Any) -> dict[str, Any]:
        """The first choice's message of a request that must succeed."""
        response = await self.ask(*args, **fields)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two integers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
"""A tool."""
