"""OpenAI's chat-completions API: its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.generation import Choice, Generation
from agentscope_tuner.chat.reading import parse_request
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.chat.sse import event
from agentscope_tuner.chat.streaming import Delta


class ChatApi:
    """See `chat.api.Api`."""

    def parse(self, body: bytes) -> ChatRequest:
        """The request as it is."""
        return parse_request(body)

    def answer(self, generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
        """A chat-completion object."""
        return completion_body(generation, choices)

    def stream(self, generation: Generation) -> Chunks:
        """Chat-completion chunks."""
        return Chunks(generation)

    def error(self, error: RequestError) -> dict[str, Any]:
        """OpenAI's error object."""
        return error.body()


def completion_body(generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
    """The chat-completion object of a whole answer."""
    shows_ids = bool(generation.request.return_token_ids)
    body = {
        "id": generation.id,
        "object": "chat.completion",
        "created": generation.created,
        "model": generation.model.name,
        "choices": [
            {
                "index": index,
                "message": _message(choice),
                "finish_reason": choice.finish_reason,
                "logprobs": _logprobs(generation, choice),
            }
            | ({"token_ids": choice.completion.token_ids} if shows_ids else {})
            for index, choice in enumerate(choices)
        ],
        "usage": usage_of(generation, choices),
    }
    if shows_ids:
        body["prompt_token_ids"] = generation.prompt_ids
    return body


class Chunks:
    """The chunks of a streamed answer, as server-sent events.

    Args:
        generation: what is streamed.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        options = generation.request.stream_options
        self._shows_usage = bool(options and options.include_usage)

    def begin(self) -> bytes:
        """Whose turn it is, for every choice."""
        first = {"role": "assistant", "content": ""}
        answers = range(self._generation.request.n or 1)
        return b"".join(self.delta(index, first) for index in answers)

    def delta(self, index: int, delta: Delta) -> bytes:
        """What the choice `index` says next."""
        return self._chunk([{"index": index, "delta": delta, "finish_reason": None}])

    def end(self, choices: Sequence[Choice]) -> bytes:
        """How every choice ended, the usage if it was asked for, and the end of the stream."""
        ends = b"".join(
            self._chunk([_ended(self._generation, index, choice)])
            for index, choice in enumerate(choices)
        )
        if self._shows_usage:
            ends += self._chunk([], usage=usage_of(self._generation, choices))
        return ends + b"data: [DONE]\n\n"

    def failed(self, error: RequestError) -> bytes:
        """The error that ends the stream."""
        return event(error.body())

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        generation = self._generation
        chunk = {
            "id": generation.id,
            "object": "chat.completion.chunk",
            "created": generation.created,
            "model": generation.model.name,
            "choices": choices,
        }
        if self._shows_usage:
            chunk["usage"] = usage
        return event(chunk)


def _ended(generation: Generation, index: int, choice: Choice) -> dict[str, Any]:
    ended = {"index": index, "delta": {}, "finish_reason": choice.finish_reason}
    if generation.request.logprobs:
        ended["logprobs"] = _logprobs(generation, choice)
    if generation.request.return_token_ids:
        ended["token_ids"] = choice.completion.token_ids
    return ended


def usage_of(generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
    """How many tokens the request took."""
    prompt = len(generation.prompt_ids)
    sampled = sum(len(choice.completion.token_ids) for choice in choices)
    cached = max(choice.completion.cached_tokens for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": sampled,
        "total_tokens": prompt + sampled,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _message(choice: Choice) -> dict[str, Any]:
    message = dict(choice.message)
    if not message["content"] and "tool_calls" in message:
        message["content"] = None
    return message


def _logprobs(generation: Generation, choice: Choice) -> dict[str, Any] | None:
    """Log-probabilities of all sampled tokens, the one that ended the turn included."""
    if not generation.request.logprobs:
        return None
    completion = choice.completion
    tops: list[list[tuple[int, float]]] = completion.top_logprobs or [[]] * len(
        completion.token_ids
    )

    def entry(token_id: int, logprob: float) -> dict[str, Any]:
        text = generation.model.tokenizer.decode([token_id], skip_special_tokens=False)
        return {"token": text, "logprob": logprob, "bytes": list(str(text).encode())}

    return {
        "content": [
            {**entry(token, logprob), "top_logprobs": [entry(*one) for one in top]}
            for token, logprob, top in zip(
                completion.token_ids, completion.logprobs, tops, strict=True
            )
        ],
        "refusal": None,
    }
