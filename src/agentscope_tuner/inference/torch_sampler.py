"""The torch sampler: a model runner with continuous batching, in a thread of its own.

The event loop and the runner share nothing but a queue (requests, new weights) and futures, so that
neither ever waits for the other: `sample` puts a request into the queue, the thread takes it into
its next step and answers through `call_soon_threadsafe`.

Weights are only exchanged while no request is running: those that are finish under the weights
they began with, later ones wait for the new weights. A request that had to give up its cache pages
is waiting, not running: it goes on under the new weights, and its completion says from which token.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from agentscope_tuner.errors import RunError
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.inference.grammar import GrammarCompiler
from agentscope_tuner.inference.model_runner import ModelRunner, default_dtype
from agentscope_tuner.inference.request import Request, post, settle
from agentscope_tuner.inference.threads import release_threads
from agentscope_tuner.penalties import TokenHistory

COMPILING_THREADS = 4
"""Grammars compiled at once: a slow one does not hold up the others."""


@dataclass(slots=True)
class _Load:
    """New weights on their way to the model runner."""

    weights: Mapping[str, Tensor]
    version: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class TorchSampler:
    """A `Sampler` over one model, on a CPU or one GPU.

    Args:
        config: The model's Hugging Face configuration.
        weights: Tensors under their Hugging Face names, in any dtype; not kept.
        tokenizer: Decodes for stop strings and compiles grammars.
        device: `cpu` or `cuda[:n]`.
        dtype: Of weights, activations and cache; None: `default_dtype(device)`.
        max_model_len: Most tokens of prompt and completion; None: the model's own limit.
        max_running: Most requests in one step; more wait.
        prefill_tokens_per_step: Most prompt tokens that one step computes beside the decoding.
        cache_bytes: Memory for keys and values; None: a tenth of what is free.
        seed: Of the random numbers for requests without a seed of their own.
        deterministic: A request's completion, to the last bit, depends on nothing that runs beside
            it and on nothing that is cached. Slower.

    Raises:
        InputError: The architecture is unknown, the cache cannot hold one sequence, or
            `deterministic` is not possible here.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        weights: Mapping[str, Tensor],
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        max_model_len: int | None = None,
        max_running: int = 256,
        prefill_tokens_per_step: int = 256,
        cache_bytes: int | None = None,
        seed: int = 0,
        deterministic: bool = False,
    ) -> None:
        device = torch.device(device)
        self.max_model_len = max_model_len or config.get_text_config().max_position_embeddings
        self._runner = ModelRunner(
            config,
            weights,
            tokenizer,
            device=device,
            dtype=dtype or default_dtype(device),
            max_model_len=self.max_model_len,
            max_running=max_running,
            prefill_tokens=prefill_tokens_per_step,
            cache_bytes=cache_bytes,
            deterministic=deterministic,
        )
        release_threads()
        self._grammars = GrammarCompiler(tokenizer, self._runner.decoder.architecture.vocab_size)
        self._compiling = DaemonThreadPool(COMPILING_THREADS, "grammar")
        self._seed = seed
        self._requests = 0
        self._inbox: queue.SimpleQueue[Request | _Load | None] = queue.SimpleQueue()
        self._loads: list[_Load] = []
        self._ending = threading.Lock()
        self._ended: tuple[str, Exception | None] | None = None
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    @property
    def version(self) -> int:
        """Version of the weights that sample now."""
        return self._runner.version

    async def sample(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        on_token: Callable[[int], None] | None = None,
        abandoned: Callable[[], bool] | None = None,
    ) -> Completion:
        """Sample one completion; see `Sampler.sample`.

        Raises ValueError if the prompt is empty or leaves no room for a token, or if the
        parameters are out of range, and GrammarError if the grammar cannot be followed.
        """
        self._check(prompt_ids, params)
        random = self._random(params.seed)
        grammar = None
        if params.grammar is not None:
            grammar = await self._compiling.run(
                self._grammars.compile, params.grammar, params.stop_token_ids
            )
        loop = asyncio.get_running_loop()
        request = Request(
            prompt_length=len(prompt_ids),
            tokens=list(prompt_ids),
            max_tokens=min(params.max_tokens, self.max_model_len - len(prompt_ids)),
            params=params,
            random=random,
            grammar=grammar,
            loop=loop,
            future=loop.create_future(),
            on_token=on_token,
            abandoned=abandoned,
            history=TokenHistory(params.penalties, prompt_ids) if params.penalties else None,
        )
        self._submit(request)
        try:
            return await request.future
        except asyncio.CancelledError:
            request.cancelled = True
            raise

    async def load_weights(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take new weights once no request is running; see `Sampler.load_weights`."""
        loop = asyncio.get_running_loop()
        load = _Load(weights, version, loop, loop.create_future())
        self._submit(load)
        await load.future

    async def close(self) -> None:
        """End the thread and give the memory back; requests that are not done fail."""
        self._inbox.put(None)
        await DaemonThreadPool(1, "closing").run(self._thread.join)

    def stats(self) -> dict[str, float]:
        """Tokens sampled, prompt tokens computed and taken from the cache, seconds at work, all
        since the start; and how many requests run and wait at this moment."""
        runner = self._runner
        return {
            "sampled_tokens": runner.sampled_tokens,
            "prefill_tokens": runner.prefill_tokens,
            "cached_tokens": runner.scheduler.cached_tokens,
            "running": len(runner.scheduler.running),
            "waiting": len(runner.scheduler.waiting) + self._inbox.qsize(),
            "busy_seconds": runner.busy_seconds,
        }

    def state_dict(self) -> dict[str, int]:
        """Where the stream of random numbers stands."""
        return {"seed": self._seed, "requests": self._requests}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on with the stream of random numbers from where it stood."""
        self._seed, self._requests = state["seed"], state["requests"]

    def _check(self, prompt_ids: list[int], params: SamplingParams) -> None:
        if not prompt_ids:
            raise ValueError("the prompt is empty")
        if len(prompt_ids) >= self.max_model_len:
            raise ValueError(
                f"the prompt of {len(prompt_ids)} tokens leaves no room for an answer "
                f"in the model's {self.max_model_len}"
            )
        if params.max_tokens < 1 or not params.temperature >= 0 or not 0 < params.top_p <= 1:
            raise ValueError(
                "max_tokens must be at least 1, temperature at least 0 and top_p in (0, 1], "
                f"not {params.max_tokens}, {params.temperature} and {params.top_p}"
            )

    def _random(self, seed: int | None) -> np.random.Generator:
        """A stream of its own for each request, so that no other request changes its draws.

        Philox (Salmon et al. 2011) is keyed by (seed, 0) or by (the sampler's seed, 1, 2, 3, ...).
        """
        self._requests += 1
        key = (self._seed, self._requests) if seed is None else (seed, 0)
        return np.random.Generator(
            np.random.Philox(key=np.array([part % 2**64 for part in key], np.uint64))
        )

    def _submit(self, item: Request | _Load) -> None:
        with self._ending:
            if self._ended is not None:
                raise _ended_error(*self._ended)
            self._inbox.put(item)

    def _run(self) -> None:
        """The runner's thread."""
        ended: tuple[str, Exception | None] = "the sampler is closed", None
        try:
            while self._receive():
                self._runner.step(admit=not self._loads)
                if self._loads and not self._runner.scheduler.running:
                    load = self._loads[0]
                    self._runner.load(load.weights, load.version)
                    self._loads.pop(0)
                    post(load.loop, settle, load.future, None)
        except Exception as error:
            ended = (
                str(error) if isinstance(error, RunError) else f"the sampler failed: {error!r}",
                error,
            )
        with self._ending:
            self._ended = ended
        while not self._inbox.empty():
            self._take(self._inbox.get())
        scheduler = self._runner.scheduler
        unfinished: list[Request | _Load] = [
            *scheduler.running,
            *scheduler.waiting,
            *self._loads,
        ]
        for item in unfinished:
            post(item.loop, settle, item.future, _ended_error(*ended))
        self._runner.release()

    def _receive(self) -> bool:
        """Take what has arrived, waiting for it if there is nothing to do; False: close."""
        scheduler = self._runner.scheduler
        open_ = True
        if not (scheduler.running or scheduler.waiting or self._loads):
            if self._inbox.empty():
                release_threads()
            open_ = self._take(self._inbox.get())
        while open_ and not self._inbox.empty():
            open_ = self._take(self._inbox.get())
        return open_

    def _take(self, item: Request | _Load | None) -> bool:
        if isinstance(item, _Load):
            self._loads.append(item)
        elif item is not None:
            self._runner.scheduler.waiting.append(item)
        return item is not None


def _ended_error(message: str, cause: Exception | None) -> RuntimeError:
    """An error for one caller: raising one object in many tasks would mix their tracebacks."""
    error = RunError(message) if isinstance(cause, RunError) else RuntimeError(message)
    error.__cause__ = cause
    return error
