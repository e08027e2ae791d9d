"""vLLM's own interface: the one file that knows it.

The engine is in this process and takes one step at a time, so that weights are handed over as they
lie in memory, and what a row of logits is narrowed to is known:

* Rows of which anything may be drawn are vLLM's alone; their log-probabilities are those after the
  temperature (`processed_logprobs`).
* All others (a grammar, penalties, top_p, top_k, min_p) pass through a logits processor of ours
  before vLLM draws: `drawing.narrowed`, as in the torch sampler, with the same record of what could
  have been drawn.

Such processors exist in vLLM's first model runner, and see a token before the next one is drawn
where scheduling is not asynchronous; both are chosen here. With `tensor_parallel_size` above 1
they are in other processes, and narrowed rows are refused.

Keys and values are cached under a salt, the version of the weights: what old weights computed is
never found again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.base import RefusedSampling
from agentscope_tuner.inference.drawing import Draw, narrowed
from agentscope_tuner.inference.grammar import GrammarError
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.inference.request import Request
from agentscope_tuner.inference.vllm_installed import imported

CACHE_SHARE = 0.1
"""Part of a processor's free memory that the cache takes if nothing is said."""
SHARED_GPU = 0.4
"""Part of a GPU's memory where a learner is on it too."""
OWN_GPU = 0.9


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What is configured of vLLM."""

    tensor_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    """Part of a GPU's memory; None: `OWN_GPU`, or `SHARED_GPU`."""
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    extra_engine_args: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `vllm.EngineArgs`, over all others."""


def engine_arguments(
    directory: Path,
    settings: VllmSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    max_model_len: int,
    cache_bytes: int | None,
    shares_device: bool,
) -> dict[str, Any]:
    """The arguments of `vllm.EngineArgs`.

    `cache_bytes` is the memory for keys and values; None: a GPU's up to `gpu_memory_utilization`, a
    tenth of what is free on a processor. `shares_device` says that a learner is on the device too.
    """
    on_cpu = device.type == "cpu"
    if cache_bytes is None and on_cpu:
        cache_bytes = int(CACHE_SHARE * free_memory(device))
    utilization = settings.gpu_memory_utilization or (SHARED_GPU if shares_device else OWN_GPU)
    return {
        "model": str(directory),
        "dtype": str(dtype).removeprefix("torch."),
        "max_model_len": max_model_len,
        "kv_cache_memory_bytes": cache_bytes,
        "gpu_memory_utilization": utilization,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enforce_eager": settings.enforce_eager or on_cpu,
        "enable_prefix_caching": settings.enable_prefix_caching,
        "enable_chunked_prefill": settings.enable_chunked_prefill,
        "async_scheduling": False,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",  # the end tokens of a request are its own
        "logits_processors": [_narrowing()] if settings.tensor_parallel_size == 1 else None,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **settings.extra_engine_args,
    }


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one step drew for one request."""

    key: str
    draws: list[Draw]
    finished: bool
    """Nothing more comes."""
    cached_tokens: int


class VllmEngine:
    """An engine in this process; used by one thread at a time.

    Raises InputError if vLLM refuses the arguments, with its reason.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._vllm = imported()
        with _TURN, _random_streams_kept():
            try:
                args = self._vllm.EngineArgs(**arguments)
                self._engine = self._vllm.LLMEngine.from_engine_args(args)
            except (ValueError, TypeError) as error:
                raise InputError(f"vLLM cannot be started: {_first_line(error)}") from error
        self._narrows = arguments["logits_processors"] is not None
        self._across_processes = arguments["tensor_parallel_size"] > 1
        self._requests: dict[str, Request] = {}

    @property
    def vocab_size(self) -> int:
        """Length of a row of logits."""
        return int(self._engine.model_config.get_vocab_size())

    def add(self, key: str, request: Request, salt: str) -> None:
        """Take a request up, to be told of by this key; pages are shared under equal salts only.

        Raises RefusedSampling if it would have to be narrowed where that is not possible.
        """
        params = request.params
        narrow = request.distribution().restricted or params.top_p < 1
        if narrow and not self._narrows:
            raise RefusedSampling(
                "with tensor_parallel_size above 1, vLLM draws without grammars, penalties, top_p, "
                "top_k and min_p"
            )
        watched = narrow or params.stop or request.on_token or request.abandoned
        kinds = self._vllm.sampling_params.RequestOutputKind
        self._requests[key] = request
        if narrow:
            _NARROWED[key] = _Row(request)
        self._engine.add_request(
            key,
            {"prompt_token_ids": request.tokens[: request.prompt_length], "cache_salt": salt},
            self._vllm.SamplingParams(
                temperature=params.temperature,
                seed=None if params.seed is None else params.seed % 2**63,
                max_tokens=request.max_tokens,
                stop_token_ids=list(params.stop_token_ids),
                ignore_eos=True,
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=kinds.DELTA if watched else kinds.FINAL_ONLY,
                extra_args={_KEY: key} if narrow else None,
            ),
        )

    def step(self) -> list[Drawn]:
        """Draw for all requests.

        A narrowed request whose grammar broke down is to be asked for by `failure`.
        """
        with _TURN:
            return [self._drawn(output) for output in self._engine.step()]

    def failure(self, key: str) -> GrammarError | None:
        """Why a request cannot be narrowed any more."""
        row = _NARROWED.get(key)
        return row.error if row else None

    def remove(self, key: str) -> None:
        """Forget a request, which may be under way."""
        del self._requests[key]
        _NARROWED.pop(key, None)
        self._engine.abort_request([key])

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take new weights under their Hugging Face names. No request may be under way."""
        plain = {name: weight.detach() for name, weight in weights.items()}
        with _TURN:
            if self._across_processes:
                self._load_from_files(plain)
            else:
                source = {"weights_iterator": plain.items()}
                self._engine.collective_rpc("reload_weights", kwargs=source)
            self._engine.collective_rpc(_pack_tied_heads)

    def close(self) -> None:
        """End the engine's processes, if it has any, and give its memory back."""
        with _TURN:
            self._engine.engine_core.shutdown()
            del self._engine

    def _load_from_files(self, weights: Mapping[str, Tensor]) -> None:
        shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with TemporaryDirectory(prefix="weights-", dir=shared) as directory:
            on_cpu = {name: weight.cpu().contiguous() for name, weight in weights.items()}
            save_file(on_cpu, Path(directory) / "model.safetensors")
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": directory})

    def _drawn(self, output: Any) -> Drawn:
        key = output.request_id.partition("-")[0]  # vLLM appends to it
        request, row = self._requests[key], _NARROWED.get(key)
        (answer,) = output.outputs
        greedy = request.params.temperature == 0
        logprobs: Sequence[float] = answer.logprobs.logprobs if answer.logprobs else ()
        draws = []
        for token, logprob in zip(answer.token_ids, logprobs, strict=True):
            known = row.before if row else None
            draws.append(
                Draw(
                    token,
                    0.0 if greedy else logprob,
                    forced=known.forced if known else greedy,
                    support=known.support if known else None,
                    top_logprobs=known.top_logprobs if known else [],
                )
            )
        return Drawn(key, draws, output.finished, output.num_cached_tokens or 0)


_TURN = threading.Lock()
"""Of the engines of this process: while one computes, vLLM keeps its state in global variables."""


@dataclass(slots=True)
class _Row:
    """What is known of a request's next draw."""

    request: Request
    before: Draw | None = None
    error: GrammarError | None = None


_KEY = "agentscope_tuner"
"""Under which vLLM hands our key of a request through to `Narrowing`."""
_NARROWED: dict[str, _Row] = {}
"""By key. Engine and processor are one process, and vLLM makes the processor itself."""


def _narrowing() -> type:
    """The logits processor, whose base class is vLLM's."""
    imported()
    base: Any = import_module("vllm.v1.sample.logits_processor").LogitsProcessor
    moves: Any = import_module("vllm.v1.sample.logits_processor").MoveDirectionality

    class Narrowing(base):
        """Leaves of a row what may be drawn, and notes what that is."""

        def __init__(self, config: object, device: object, is_pin_memory: bool) -> None:
            self._keys: dict[int, str] = {}
            """By row."""

        def is_argmax_invariant(self) -> bool:
            return False

        def update_state(self, batch_update: Any) -> None:
            if batch_update is None:
                return
            for row in batch_update.removed:
                self._keys.pop(row, None)
            for row, params, _, _ in batch_update.added:
                self._keys.pop(row, None)
                if params.extra_args and _KEY in params.extra_args:
                    self._keys[row] = params.extra_args[_KEY]
            for source, target, direction in batch_update.moved:
                moved, other = self._keys.pop(source, None), self._keys.pop(target, None)
                if moved is not None:
                    self._keys[target] = moved
                if other is not None and direction == moves.SWAP:
                    self._keys[source] = other

        def apply(self, logits: Tensor) -> Tensor:
            for at, key in self._keys.items():
                row = _NARROWED.get(key)
                if row is None or row.error is not None:
                    continue
                try:
                    logits[at], row.before = narrowed(logits[at], row.request.distribution())
                except GrammarError as error:
                    row.error = error
            return logits

    return Narrowing


def _pack_tied_heads(worker: Any) -> None:
    """Runs where the model is: on a processor a head that shares the embedding's weights has them
    packed once more, and reloading leaves those that were packed before."""
    if worker.device.type != "cpu":
        return
    heads = import_module("vllm.model_executor.layers.vocab_parallel_embedding").ParallelLMHead
    for module in worker.model_runner.get_model().modules():
        if isinstance(module, heads):
            module.quant_method.process_weights_after_loading(module)


@contextmanager
def _random_streams_kept() -> Iterator[None]:
    """vLLM seeds the streams of random numbers that the learner and the user's code draw from."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0]
