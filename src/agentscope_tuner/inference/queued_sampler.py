"""A sampler whose runner works in a thread of its own.

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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.errors import RunError
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.inference.grammar import GrammarCompiler
from agentscope_tuner.inference.request import Request, post, settle
from agentscope_tuner.inference.threads import release_threads
from agentscope_tuner.penalties import TokenHistory

COMPILING_THREADS = 4
"""Grammars compiled at once: a slow one does not hold up the others."""


class Runner(Protocol):
    """What computes and draws, step by step; used by one thread only."""

    version: int
    """Of the weights that it samples from."""

    @property
    def running(self) -> Collection[Request]:
        """Requests under way."""
        ...

    @property
    def waiting(self) -> Collection[Request]:
        """Requests that no step has taken up."""
        ...

    def add(self, request: Request) -> None:
        """Have a request wait for its turn."""
        ...

    def step(self, *, admit: bool) -> None:
        """Draw once for every running request; start waiting ones if allowed."""
        ...

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take new weights and use nothing more that old ones computed. None may be running."""
        ...

    def rest(self) -> None:
        """Give the weights' memory back if possible; no step is asked for before the next `load`.
        No request may be running."""
        ...

    def release(self) -> None:
        """Give the memory back; it cannot be used any more."""
        ...

    def stats(self) -> dict[str, float]:
        """Tokens sampled, prompt tokens computed and taken from the cache, seconds at work."""
        ...


@dataclass(slots=True)
class _Load:
    """New weights on their way to the model runner."""

    weights: Mapping[str, Tensor] | None
    """None: the runner rests until there are others."""
    version: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class QueuedSampler:
    """A `Sampler` over a runner."""

    def __init__(
        self,
        runner: Runner,
        tokenizer: PreTrainedTokenizerBase,
        *,
        vocab_size: int,
        max_model_len: int,
        seed: int = 0,
    ) -> None:
        """Start the thread. `vocab_size` is the length of a row of logits, `seed` that of the
        random numbers for requests without a seed of their own."""
        self.max_model_len = max_model_len
        self._runner = runner
        release_threads()
        self._grammars = GrammarCompiler(tokenizer, vocab_size)
        self._compiling = DaemonThreadPool(COMPILING_THREADS, "grammar")
        self._seed = seed
        self._requests = 0
        self._inbox: queue.SimpleQueue[Request | _Load | None] = queue.SimpleQueue()
        self._loads: list[_Load] = []
        self._resting = False
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

    async def rest(self) -> None:
        """Give memory back once no request is running; see `Sampler.rest`."""
        await self._exchange(None, self.version)

    async def load_weights(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take new weights once no request is running; see `Sampler.load_weights`."""
        await self._exchange(weights, version)

    async def _exchange(self, weights: Mapping[str, Tensor] | None, version: int) -> None:
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
        return runner.stats() | {
            "running": len(runner.running),
            "waiting": len(runner.waiting) + self._inbox.qsize(),
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
                if not self._resting:
                    self._runner.step(admit=not self._loads)
                if self._loads and not self._runner.running:
                    load = self._loads[0]
                    if load.weights is None:
                        self._runner.rest()
                    else:
                        self._runner.load(load.weights, load.version)
                    self._resting = load.weights is None
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
        unfinished: list[Request | _Load] = [
            *self._runner.running,
            *self._runner.waiting,
            *self._loads,
        ]
        for item in unfinished:
            post(item.loop, settle, item.future, _ended_error(*ended))
        self._runner.release()

    def _receive(self) -> bool:
        """Take what has arrived, waiting for it if there is nothing to do; False: close."""
        open_ = True
        requests = self._runner.running or self._runner.waiting
        if not self._loads and (self._resting or not requests):
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
            self._runner.add(item)
        return item is not None


def _ended_error(message: str, cause: Exception | None) -> RuntimeError:
    """An error for one caller: raising one object in many tasks would mix their tracebacks."""
    error = RunError(message) if isinstance(cause, RunError) else RuntimeError(message)
    error.__cause__ = cause
    return error
