"""vLLM as a sampler: queue, requests and versions as in the torch sampler, over vLLM's engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.inference.base import RefusedSampling
from agentscope_tuner.inference.drawing import refuse_not_finite
from agentscope_tuner.inference.grammar import GrammarError
from agentscope_tuner.inference.queued_sampler import QueuedSampler
from agentscope_tuner.inference.request import Request
from agentscope_tuner.inference.vllm_engine import (
    Drawn,
    VllmEngine,
    VllmSettings,
    engine_arguments,
)
from agentscope_tuner.inference.vllm_installed import refuse_unusable

_KEYS = map(str, count())
"""For the requests of all engines of this process."""


class VllmSampler(QueuedSampler):
    """A `Sampler` over one model in vLLM.

    A seed gives the same draws only as far as vLLM's kernels do not depend on what runs beside.

    Args:
        directory: The model's files, which vLLM reads.
        weights: Replace those of the files before anything is sampled; None: they stay.
        tokenizer: Decodes for stop strings and compiles grammars.
        settings: What is configured of vLLM.
        device: `cpu` or `cuda`; vLLM takes the GPUs that this process sees.
        dtype: Of weights, activations and cache.
        max_model_len: Most tokens of prompt and completion.
        cache_bytes: Memory for keys and values; None: see `engine_arguments`.
        shares_device: Whether a learner is on the device too.

    Raises:
        InputError: vLLM is not installed, was never tried in this version, is not for this
            device, or cannot be started.
    """

    def __init__(
        self,
        directory: Path,
        weights: Mapping[str, Tensor] | None,
        tokenizer: PreTrainedTokenizerBase,
        settings: VllmSettings,
        *,
        device: torch.device,
        dtype: torch.dtype,
        max_model_len: int,
        cache_bytes: int | None = None,
        shares_device: bool = False,
    ) -> None:
        refuse_unusable(device)
        engine = VllmEngine(
            engine_arguments(
                directory,
                settings,
                device=device,
                dtype=dtype,
                max_model_len=max_model_len,
                cache_bytes=cache_bytes,
                shares_device=shares_device,
            )
        )
        runner = VllmRunner(engine, tokenizer)
        if weights is not None:
            runner.load(weights, 0)
        super().__init__(
            runner, tokenizer, vocab_size=engine.vocab_size, max_model_len=max_model_len
        )


class VllmRunner:
    """Requests in vLLM, by keys of their own; a `Runner`."""

    def __init__(self, engine: VllmEngine, tokenizer: PreTrainedTokenizerBase) -> None:
        self.version = 0
        self._engine = engine
        self._tokenizer = tokenizer
        self._running: dict[str, Request] = {}
        self._waiting: deque[Request] = deque()
        self._stats = dict.fromkeys(
            ("sampled_tokens", "prefill_tokens", "cached_tokens", "busy_seconds"), 0.0
        )

    @property
    def running(self) -> Collection[Request]:
        """See `Runner`."""
        return self._running.values()

    @property
    def waiting(self) -> Collection[Request]:
        """See `Runner`."""
        return self._waiting

    def add(self, request: Request) -> None:
        """See `Runner`."""
        self._waiting.append(request)

    def step(self, *, admit: bool) -> None:
        """See `Runner`. vLLM itself has requests wait that it has no pages for."""
        started = time.perf_counter()
        self._drop_cancelled()
        while admit and self._waiting:
            self._admit(self._waiting.popleft())
        if self._running:
            for drawn in self._engine.step():
                if drawn.key in self._running:
                    self._take(self._running[drawn.key], drawn)
            self._fail_broken()
        self._stats["busy_seconds"] += time.perf_counter() - started

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """See `Runner`: pages are found by the version under which they were computed."""
        self._engine.load(weights)
        self.version = version

    def rest(self) -> None:
        """See `Runner`: vLLM takes new weights where the old ones are, so these stay."""

    def release(self) -> None:
        """See `Runner`."""
        self._engine.close()

    def stats(self) -> dict[str, float]:
        """See `Runner`."""
        return dict(self._stats)

    def _drop_cancelled(self) -> None:
        for key, request in list(self._running.items()):
            if request.cancelled:
                self._end(key)
        self._waiting = deque(request for request in self._waiting if not request.cancelled)

    def _admit(self, request: Request) -> None:
        key = next(_KEYS)
        try:
            self._engine.add(key, request, salt=f"weights {self.version}")
        except RefusedSampling as error:
            request.fail(error)
        else:
            self._running[key] = request

    def _take(self, request: Request, drawn: Drawn) -> None:
        if request.cached_tokens is None:
            request.cached_tokens = drawn.cached_tokens
            self._stats["cached_tokens"] += drawn.cached_tokens
            self._stats["prefill_tokens"] += request.prompt_length - drawn.cached_tokens
        refuse_not_finite(drawn.draws)
        self._stats["sampled_tokens"] += len(drawn.draws)
        finish_reason = None
        for draw in drawn.draws:
            try:
                finish_reason = request.take(draw, self.version, self._tokenizer)
            except GrammarError as error:
                self._end(drawn.key)
                request.fail(error)
                return
        if finish_reason is not None or drawn.finished:
            self._end(drawn.key)
            request.resolve(finish_reason or "length")

    def _fail_broken(self) -> None:
        for key, request in list(self._running.items()):
            if (error := self._engine.failure(key)) is not None:
                self._end(key)
                request.fail(error)

    def _end(self, key: str) -> None:
        del self._running[key]
        self._engine.remove(key)
