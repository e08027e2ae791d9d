"""One model, its cache and its running requests; one step computes and draws for all of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.batch import Batch, Span
from agentscope_tuner.inference.cache import KVCache
from agentscope_tuner.inference.decoder import Decoder
from agentscope_tuner.inference.drawing import Distribution, draw
from agentscope_tuner.inference.grammar import GrammarError
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.inference.pages import PAGE_TOKENS, PagePool
from agentscope_tuner.inference.request import Request
from agentscope_tuner.inference.scheduler import Scheduler

CACHE_SHARE = 0.1
"""Part of the free memory that the cache may take if nothing is said."""


class ModelRunner:
    """Runs requests to their end, step by step; knows nothing of threads but `Request.resolve`."""

    def __init__(
        self,
        config: PreTrainedConfig,
        weights: Mapping[str, Tensor],
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: torch.device,
        dtype: torch.dtype,
        max_model_len: int,
        max_running: int,
        prefill_tokens: int,
        cache_bytes: int | None,
        deterministic: bool,
    ) -> None:
        self.decoder = Decoder(
            config,
            dtype=dtype,
            device=device,
            max_length=max_model_len,
            deterministic=deterministic,
        )
        self.decoder.load(weights)
        self.version = 0
        self.sampled_tokens = 0
        self.prefill_tokens = 0
        self.busy_seconds = 0.0
        self._tokenizer = tokenizer
        arch = self.decoder.architecture
        page_bytes = PAGE_TOKENS * arch.cache_bytes_per_token(dtype)
        self._pages = count_pages(page_bytes, cache_bytes, max_model_len, device)
        self._cache = KVCache(arch.layers, self._pages, arch.kv_heads, arch.head_dim, dtype, device)
        self.scheduler = Scheduler(
            PagePool(self._pages),
            self._cache.copy_page,
            max_running=max_running,
            prefill_tokens=prefill_tokens,
        )

    @property
    def running(self) -> Collection[Request]:
        """See `Runner`."""
        return self.scheduler.running

    @property
    def waiting(self) -> Collection[Request]:
        """See `Runner`."""
        return self.scheduler.waiting

    def add(self, request: Request) -> None:
        """See `Runner`."""
        self.scheduler.waiting.append(request)

    def stats(self) -> dict[str, float]:
        """See `Runner`."""
        return {
            "sampled_tokens": self.sampled_tokens,
            "prefill_tokens": self.prefill_tokens,
            "cached_tokens": self.scheduler.cached_tokens,
            "busy_seconds": self.busy_seconds,
        }

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take new weights and forget all cached keys and values. No request may be running."""
        self.decoder.load(weights)
        self.scheduler.reset(PagePool(self._pages))
        self.version = version

    def rest(self) -> None:
        """See `Runner`."""
        self.decoder.forget()

    def release(self) -> None:
        """Give the memory back; it cannot be used any more."""
        self._cache.release()
        del self.decoder

    def step(self, *, admit: bool) -> None:
        """Compute and draw once for every running request; start waiting ones if allowed."""
        started = time.perf_counter()
        for request in [*self.scheduler.running, *self.scheduler.waiting]:
            if request.cancelled:
                self.scheduler.remove(request)
        plan = self.scheduler.plan(admit=admit)
        if plan:
            self._compute(plan)
        self.busy_seconds += time.perf_counter() - started

    def _compute(self, plan: list[tuple[Request, Span]]) -> None:
        batch = Batch.build([span for _, span in plan], self.decoder.device)
        logits_BV = self.decoder.forward(batch, self._cache)
        drawing: list[tuple[Request, Distribution]] = []
        rows: list[int] = []
        asked = 0
        for request, span in plan:
            self.scheduler.computed(request, len(span.tokens))
            self.prefill_tokens += max(0, min(request.computed, request.prompt_length) - span.start)
            if not span.wants_logits:
                continue
            try:
                drawing.append((request, request.distribution()))
                rows.append(asked)
            except GrammarError as error:
                self._fail(request, error)
            asked += 1
        if not drawing:
            return
        draws = draw(
            logits_BV if len(rows) == asked else logits_BV[rows],
            [distribution for _, distribution in drawing],
            self.decoder.ops.draw,
        )
        self.sampled_tokens += len(draws)
        for (request, _), drawn in zip(drawing, draws, strict=True):
            try:
                finish_reason = request.take(drawn, self.version, self._tokenizer)
            except GrammarError as error:
                self._fail(request, error)
                continue
            if finish_reason is not None:
                self.scheduler.remove(request)
                request.resolve(finish_reason)

    def _fail(self, request: Request, error: GrammarError) -> None:
        """End a request by itself: its fault is not that of the others."""
        self.scheduler.remove(request)
        request.fail(error)


def count_pages(
    page_bytes: int, cache_bytes: int | None, max_model_len: int, device: torch.device
) -> int:
    """How many pages a cache of `cache_bytes` has (None: `CACHE_SHARE` of the free memory).

    Raises InputError if that does not hold one sequence of the greatest length.
    """
    least = -(-max_model_len // PAGE_TOKENS) + 1  # one more: a full cache can still copy a page
    if cache_bytes is None:
        return max(least, int(CACHE_SHARE * free_memory(device)) // page_bytes)
    if cache_bytes < least * page_bytes:
        raise InputError(
            f"a cache of {cache_bytes / 1e9:.3g} GB cannot hold one sequence of {max_model_len} "
            f"tokens, which takes {least * page_bytes / 1e9:.3g} GB: raise kv_cache_memory_bytes "
            "or lower max_model_len"
        )
    return cache_bytes // page_bytes


def default_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device multiplies it faster than fp32, else fp32.

    Of the processors, those with AMX do, and AMD's with AVX512-BF16; on Intel's without AMX the
    instruction is there, but a product takes twice the time that it takes in fp32. In fp32 sampler
    and learner agree to rounding, too.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    can = torch.cpu.get_capabilities()
    pairs = can.get("avx512_bf16", False) and "Intel" not in can.get("cpu_name", "")
    return torch.bfloat16 if can.get("amx_bf16", False) or pairs else torch.float32
