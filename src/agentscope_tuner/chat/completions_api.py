"""OpenAI's completions API: a prompt as it is, and the text that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from agentscope_tuner.chat.chat_api import usage_of
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.reading import checked, validated
from agentscope_tuner.chat.request import Bias, ChatRequest, StreamOptions, Strict
from agentscope_tuner.chat.sse import event
from agentscope_tuner.chat.streaming import Delta

TokenId = Annotated[int, Field(ge=0)]


class CompletionsRequest(Strict):
    """A request of the completions API."""

    model: str
    prompt: str | Annotated[list[TokenId], Field(min_length=1)]
    max_tokens: int = 16
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, Bias] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None

    # They ask for nothing that changes the answer.
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None
    logprobs: None = None
    user: str | None = None


class CompletionsApi:
    """See `chat.api.Api`."""

    def parse(self, body: bytes) -> ChatRequest:
        """A chat request of one message, the prompt, that is not rendered."""
        asked = validated(CompletionsRequest, body)
        same = asked.model_dump(
            exclude={"prompt", "echo", "best_of", "suffix", "logprobs"}, exclude_none=True
        )
        message = {"role": "user", "content": asked.prompt if isinstance(asked.prompt, str) else ""}
        request = checked(validated(ChatRequest, {**same, "messages": [message]}))
        return request.with_plain_prompt(asked.prompt)

    def answer(self, generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
        """A text-completion object."""
        shows_ids = bool(generation.request.return_token_ids)
        answers = [
            _choice(index, choice.message["content"], choice.finish_reason)
            | ({"token_ids": choice.completion.token_ids} if shows_ids else {})
            for index, choice in enumerate(choices)
        ]
        prompt = {"prompt_token_ids": generation.prompt_ids} if shows_ids else {}
        usage = usage_of(generation, choices)
        return {**_head(generation), "choices": answers, "usage": usage, **prompt}

    def stream(self, generation: Generation) -> CompletionChunks:
        """Text-completion chunks."""
        return CompletionChunks(generation)

    def error(self, error: RequestError) -> dict[str, Any]:
        """OpenAI's error object."""
        return error.body()


class CompletionChunks:
    """The chunks of a streamed completion.

    Args:
        generation: what is streamed.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def delta(self, index: int, delta: Delta) -> bytes:
        """More text."""
        return self._chunk([_choice(index, delta["content"], None)])

    def end(self, choices: Sequence[Choice]) -> bytes:
        """How every answer ended, and the usage if it was asked for."""
        ends = [_choice(index, "", choice.finish_reason) for index, choice in enumerate(choices)]
        options = self._generation.request.stream_options
        usage = usage_of(self._generation, choices)
        last = self._chunk([], usage=usage) if options and options.include_usage else b""
        return self._chunk(ends) + last + b"data: [DONE]\n\n"

    def failed(self, error: RequestError) -> bytes:
        """The error that ends the stream."""
        return event(error.body())

    def _chunk(self, choices: list[dict[str, Any]], **fields: Any) -> bytes:
        return event({**_head(self._generation), "choices": choices, **fields})


def _head(generation: Generation) -> dict[str, Any]:
    return {
        "id": f"cmpl-{generation.id.removeprefix('chatcmpl-')}",
        "object": "text_completion",
        "created": generation.created,
        "model": generation.model.name,
    }


def _choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
