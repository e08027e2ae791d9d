"""What a model call costs beside the model: processor time with a sampler that answers at once.

The same calls go once to our endpoint and once to an application that sends a recorded answer; the
second are AgentScope, the openai SDK and its HTTP, so the difference is ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentscope.model import OpenAIChatModel
from channel import Channel, Message
from starlette.responses import Response
from torch import Tensor

from agentscope_tuner.chat.client import InProcessClient, RolloutChatModel
from agentscope_tuner.chat.served import serve_model
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.inference.loading import load_config, load_tokenizer

ANSWER = "The sum of the two numbers that you gave me is nine, so the answer to it is 9."
QUESTION = "State the final answer to the following arithmetic problem: 4 + 5 ="
Messages = list[dict[str, Any]]


class InstantSampler:
    """Answers the same tokens to everything."""

    version = 0
    max_model_len = 8192

    def __init__(self, token_ids: list[int]) -> None:
        self._token_ids = token_ids

    async def sample(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        on_token: Callable[[int], None] | None = None,
    ) -> Completion:
        """See `Sampler.sample`."""
        length = len(self._token_ids)
        return Completion(
            [*self._token_ids], [-1.0] * length, [False] * length, {}, "stop", self.version
        )

    async def load_weights(self, weights: Mapping[str, Tensor], version: int) -> None:
        """There are none."""

    async def close(self) -> None:
        """There is nothing to end."""


def conversation(turns: int) -> list[Messages]:
    """The messages of each call of a conversation, as AgentScope's formatter makes them."""

    def message(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "name": role, "content": [{"type": "text", "text": text}]}

    messages = [message("system", "You are a helpful math problem solving agent.")]
    calls = []
    for _ in range(turns):
        messages = [*messages, message("user", QUESTION)]
        calls.append(messages)
        messages = [*messages, message("assistant", ANSWER)]
    return calls


async def processor_seconds(models: Sequence[OpenAIChatModel], calls: Sequence[Messages]) -> float:
    """Of one call, on average over a conversation with each model."""
    began = time.process_time()
    for model in models:
        for messages in calls:
            await model(messages)
    return (time.process_time() - began) / (len(models) * len(calls))


def main() -> None:
    """Load and serve."""
    channel = Channel()
    directory = Path(channel.settings["model"])
    tokenizer = load_tokenizer(directory)
    answer = [*tokenizer.encode(ANSWER), tokenizer.eos_token_id]
    policy = serve_model(
        "policy",
        InstantSampler(answer),
        tokenizer,
        model_type=load_config(directory).model_type,
    )
    service = ChatService(policy)
    loop = asyncio.new_event_loop()
    opened = 0

    def no_url() -> str:
        raise AssertionError("nobody asks for a URL")

    async def measure(turns: int, conversations: int) -> Message:
        nonlocal opened
        sessions = [service.open(f"rollout-{opened + i}") for i in range(conversations)]
        opened += conversations
        calls = conversation(turns)
        ours = await processor_seconds([session.model for session in sessions], calls)
        for session in sessions:
            session.close()

        recorded = service.open("recorded")
        client = InProcessClient(service.endpoint, loop)
        answered = await client.http.post(
            "http://in-process/rollouts/recorded/v1/chat/completions",
            headers={"Authorization": f"Bearer {recorded.key}"},
            json={"model": "policy", "messages": calls[0]},
        )
        recorded.close()
        replay = InProcessClient(Response(answered.content, media_type="application/json"), loop)
        models = [
            RolloutChatModel("policy", replay, f"replay-{i}", "key", no_url)
            for i in range(conversations)
        ]
        theirs = await processor_seconds(models, calls)
        return {"ours": ours - theirs, "theirs": theirs}

    def work(request: Message) -> Message:
        return loop.run_until_complete(measure(request["turns"], request["conversations"]))

    channel.serve(work)


if __name__ == "__main__":
    main()
