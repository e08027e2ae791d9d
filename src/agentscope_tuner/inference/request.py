"""One completion in the making."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.inference.base import Completion, FinishReason, SamplingParams
from agentscope_tuner.inference.drawing import Distribution, Draw
from agentscope_tuner.inference.grammar import Grammar
from agentscope_tuner.inference.pages import Page
from agentscope_tuner.penalties import TokenHistory


@dataclass(slots=True, eq=False)
class Request:
    """A prompt, what was sampled behind it so far, and where its keys and values lie."""

    prompt_length: int
    tokens: list[int]
    """Prompt and sampled tokens."""
    max_tokens: int
    """The most to sample: what was asked for, or what the model's length leaves."""
    params: SamplingParams
    random: np.random.Generator
    grammar: Grammar | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Completion]
    on_token: Callable[[int], None] | None
    abandoned: Callable[[], bool] | None = None
    history: TokenHistory | None = None
    """The tokens so far, where penalties count them."""
    draws: list[Draw] = field(default_factory=list)
    versions: list[tuple[int, int]] = field(default_factory=list)
    """(index in `draws`, version) of each draw from which on other weights sampled, the
    first one included."""
    pages: list[Page] = field(default_factory=list)
    computed: int = 0
    """How many of `tokens` have their keys and values in the cache."""
    cached_tokens: int | None = None
    """Prompt tokens found in the cache; None before the request first ran."""
    cancelled: bool = False
    """Set by the event loop, read by the model runner."""

    @property
    def pending(self) -> int:
        """How many tokens have to be computed before the next one can be drawn."""
        return len(self.tokens) - self.computed

    def distribution(self) -> Distribution:
        """What the next token is to be drawn from."""
        return Distribution(
            temperature=self.params.temperature,
            top_p=self.params.top_p,
            top_k=self.params.top_k,
            min_p=self.params.min_p,
            change=self.history.change() if self.history else None,
            uniform=self.random.random(),
            allowed=self.grammar.allowed() if self.grammar else None,
            top_logprobs=self.params.top_logprobs,
        )

    def take(
        self, draw: Draw, version: int, tokenizer: PreTrainedTokenizerBase
    ) -> FinishReason | None:
        """Append what weights of this version drew; say whether, and why, it was the last."""
        if not self.versions or self.versions[-1][1] != version:
            self.versions.append((len(self.draws), version))
        self._append(draw)
        if draw.token in self.params.stop_token_ids:
            return "stop"
        if self.grammar:
            self.grammar.advance(draw.token)
            if self.grammar.complete:
                end = self.grammar.end_token
                if draw.token != end and len(self.draws) < self.max_tokens:
                    self._append(Draw(end, 0.0, forced=True, support=np.array([end], np.int32)))
                return "stop"
        if self.params.stop and self._contains_stop(tokenizer):
            return "stop"
        if len(self.draws) >= self.max_tokens:
            return "length"
        return "abandoned" if self.abandoned is not None and self.abandoned() else None

    def resolve(self, finish_reason: FinishReason) -> None:
        """Give the result to whoever awaits it."""
        (_, version), *changes = self.versions
        completion = Completion(
            token_ids=[draw.token for draw in self.draws],
            logprobs=[draw.logprob for draw in self.draws],
            forced=[draw.forced for draw in self.draws],
            supports={i: d.support for i, d in enumerate(self.draws) if d.support is not None},
            finish_reason=finish_reason,
            version=version,
            cached_tokens=self.cached_tokens or 0,
            top_logprobs=[draw.top_logprobs for draw in self.draws]
            if self.params.top_logprobs
            else [],
            version_changes=changes,
        )
        post(self.loop, settle, self.future, completion)

    def fail(self, error: Exception) -> None:
        """Raise an error where the result is awaited."""
        post(self.loop, settle, self.future, error)

    def _append(self, draw: Draw) -> None:
        self.draws.append(draw)
        self.tokens.append(draw.token)
        if self.history:
            self.history.push(draw.token)
        if self.on_token:
            post(self.loop, self.on_token, draw.token)

    def _contains_stop(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the newest token completed a stop string.

        A token is at least one byte and a character at most four: so many tokens hold the string.
        """
        length = 4 * max(map(len, self.params.stop)) + 4
        tail = [draw.token for draw in self.draws[-length:]]
        text = tokenizer.decode(tail, skip_special_tokens=False)
        return any(stop in text for stop in self.params.stop)


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Call back on an event loop from another thread; a closed loop has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)


def settle(future: asyncio.Future[Any], outcome: object) -> None:
    """Set a future's result, or its exception, unless it was cancelled meanwhile."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
