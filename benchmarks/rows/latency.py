"""Few requests at once: tokens a second against llama.cpp, and how fast the weights are read."""

from __future__ import annotations

import statistics

from models import bf16_directory
from race import Comparison, Contestant, Pair, Unavailable, race
from results import Outcome, Row

from agentscope_tuner.inference.loading import load_config
from agentscope_tuner.inference.memory import count_parameters
from rows.sampling import NEW, PROMPT, UNIT, llama_cpp, our_sampler, rate, request

REQUESTS = (1, 4, 8)
PEER = "llama.cpp"


def measure(quick: bool) -> Outcome:
    """A row for each number of requests, every one with a prompt of its own."""
    rows = []
    with our_sampler(str(bf16_directory())) as ours, llama_cpp(slots=max(REQUESTS)) as peer:
        for requests in REQUESTS:
            rows.append(row(requests, raced(ours, peer, requests, 1 if quick else 7)))
    return Outcome(rows)


def raced(ours: Contestant, peer: Contestant, requests: int, repeats: int) -> list[Pair]:
    """Both in turn on the same prompts."""
    pairs, failed = race(
        ours, [peer], lambda seed: request(seed, requests, 1), repeats, first_seed=1000 * requests
    )
    if failed:
        raise Unavailable(failed[peer.name])
    return pairs[peer.name]


def row(requests: int, pairs: list[Pair]) -> Row:
    """Tokens a second, and in the note how many bytes of weights that takes."""
    weights = 2 * count_parameters(load_config(bf16_directory()))
    read = statistics.median(weights * NEW / pair.ours["seconds"] for pair in pairs)
    name = f"latency, {requests} {'request' if requests == 1 else 'requests'} at once"
    return Row.of(
        f"{name}, {PROMPT} + {NEW} tokens, vs {PEER}",
        UNIT,
        Comparison.of(pairs, rate),
        against=PEER,
        target=1.0,
        note=f"weights are read at {read / 1e9:.1f} GB/s, the prefill counted as nothing",
    )
