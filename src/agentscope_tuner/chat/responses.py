"""Answers in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentscope_tuner.chat.generation import Choice, Generation


def completion_body(generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
    """The chat-completion object of a whole answer."""
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
            for index, choice in enumerate(choices)
        ],
        "usage": usage(generation, choices),
    }
    if generation.request.return_token_ids:
        body["prompt_token_ids"] = generation.prompt_ids
        for shown, choice in zip(body["choices"], choices, strict=True):  # type: ignore[call-overload]
            shown["token_ids"] = choice.completion.token_ids
    return body


def usage(generation: Generation, choices: Sequence[Choice]) -> dict[str, Any]:
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
