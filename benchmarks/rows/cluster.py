"""Rollouts on the actors of a Ray cluster of this machine, and new weights for them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from models import MODEL
from race import Comparison, Contestant, Message, race
from results import Outcome, Row

from agentscope_tuner.inference.loading import resolve_model

TASKS, TOKENS = 16, 48
FEW, MANY = 4, 16
"""Samples a task. To decode, an actor reads all of its weights for each token, of however many
rollouts: so of few rollouts two actors need more than half of the time of one."""
SAMPLERS, WEIGHTS = 4, 500_000_000
BUDGET_S = 1.0


@dataclass(frozen=True, slots=True)
class Halves:
    """Processes that do a part of the work each, at the same time."""

    name: str
    processes: Sequence[Contestant]

    def ask(self, work: Message) -> Message:
        """What they did together."""
        count = len(self.processes)
        parts = [work | {"questions": work["questions"][n::count]} for n in range(count)]
        with ThreadPoolExecutor(count) as pool:
            done = list(pool.map(Contestant.ask, self.processes, parts))
        seconds = max(answer["seconds"] for answer in done)
        return {"seconds": seconds, "tokens": sum(answer["tokens"] for answer in done)}

    def idle_share(self) -> float:
        """Processors that they use while they have nothing to do."""
        return sum(process.idle_share() for process in self.processes)


def measure(quick: bool) -> Outcome:
    """Two actors with a core each against one, and against processes without a cluster."""
    repeats = 2 if quick else 5
    return Outcome([*rollouts(repeats), weights(repeats)])


def rollouts(repeats: int) -> list[Row]:
    """Tokens that are sampled in a second."""
    model = str(resolve_model(MODEL))

    def start(name: str, actors: int, core: int | None = None) -> Contestant:
        settings = {"model": model, "tokens": TOKENS, "actors": actors, "core": core}
        return stack.enter_context(Contestant(name, "rollouts_on_cluster.py", settings))

    with ExitStack() as stack:
        two, one = start("two-actors", 2), start("one-actor", 1)
        local = start("one-process", 0)
        halves = Halves("two-processes", [start(f"process-{core}", 0, core) for core in range(2)])
        few, _ = race(two, [one, local, halves], partial(request, FEW), repeats)
        many, _ = race(two, [one, halves], partial(request, MANY), max(2, repeats // 2))
    told = {
        "one-actor": ("one actor", 1.8),
        "one-process": ("one process with both cores", 0.9),
        "two-processes": ("two processes without a cluster, a core each", None),
    }
    return [
        Row.of(
            f"{TASKS * samples} rollouts on two actors with a core each",
            "tokens/s",
            Comparison.of(pairs[name], lambda answer: answer["tokens"] / answer["seconds"]),
            against=against,
            target=target,
        )
        for samples, pairs in ((FEW, few), (MANY, many))
        for name, (against, target) in told.items()
        if name in pairs
    ]


def request(samples: int, seed: int) -> Message:
    """Questions that nobody has asked before."""
    questions = [f"Tell a story about the number {seed * TASKS + n}." for n in range(TASKS)]
    return {"questions": questions, "samples": samples, "seed": seed}


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
