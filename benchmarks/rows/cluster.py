"""Rollouts on the actors of a Ray cluster of this machine, and new weights for them."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from models import MODEL
from race import Comparison, Contestant, Message, race
from results import Outcome, Row

from agentscope_tuner.inference.loading import resolve_model

TASKS, SAMPLES, TOKENS = 16, 4, 48
"""Enough that two actors gain by sharing them: to decode, an actor reads all of its weights for
each token, of however many rollouts, and so a few are as fast on one."""
SAMPLERS, WEIGHTS = 4, 500_000_000
BUDGET_S = 1.0


def measure(quick: bool) -> Outcome:
    """Two actors with a core each against one, and against this process with both cores."""
    repeats = 2 if quick else 5
    return Outcome([*rollouts(repeats), weights(repeats)])


def rollouts(repeats: int) -> list[Row]:
    """Tokens that are sampled in a second."""
    model = str(resolve_model(MODEL))

    def start(name: str, actors: int) -> Contestant:
        settings = {"model": model, "tokens": TOKENS, "actors": actors}
        return Contestant(name, "rollouts_on_cluster.py", settings)

    with ExitStack() as stack:
        two, one, local = (
            stack.enter_context(start(name, actors))
            for name, actors in (("two-actors", 2), ("one-actor", 1), ("one-process", 0))
        )
        pairs, _ = race(two, [one, local], request, repeats)
    told = {
        "one-actor": ("one actor", 1.8),
        "one-process": ("one process with both cores", 0.9),
    }
    return [
        Row.of(
            f"{TASKS * SAMPLES} rollouts on two actors with a core each",
            "tokens/s",
            Comparison.of(pairs[name], lambda answer: answer["tokens"] / answer["seconds"]),
            against=against,
            target=target,
        )
        for name, (against, target) in told.items()
    ]


def request(seed: int) -> Message:
    """Questions that nobody has asked before."""
    questions = [f"Tell a story about the number {seed * TASKS + n}." for n in range(TASKS)]
    return {"questions": questions, "samples": SAMPLES, "seed": seed}


def weights(repeats: int) -> Row:
    """Seconds of a hand-over, in which every sampler copies the weights."""
    settings = {"samplers": SAMPLERS, "bytes": WEIGHTS}
    with Contestant("weights", "weights_to_actors.py", settings) as ours:
        ours.ask({"version": 1})  # warms up
        taken = [ours.ask({"version": 2 + n})["seconds"] for n in range(repeats)]
    seconds = statistics.median(taken)
    return Row(
        f"weights of {WEIGHTS / 1e6:.0f} MB to {SAMPLERS} samplers of the machine",
        "s",
        target=1.0,
        lower_is_better=True,
        ours=seconds,
        against="budget",
        peer=BUDGET_S,
        ratio=seconds / BUDGET_S,
        spread=(min(taken) / BUDGET_S, max(taken) / BUDGET_S),
    )
