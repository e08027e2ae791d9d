"""Prompts of 8,000 tokens against prompts of 1,000: tokens a second, read and learnt from."""

from __future__ import annotations

from collections.abc import Callable

from models import MODEL, bf16_directory
from race import Comparison, Contestant, Message, Pair, say
from results import Outcome, Row
from workload import prompts, rollouts

from agentscope_tuner.inference.loading import resolve_model
from rows.sampling import UNIT, our_sampler

LONG, SHORT, NEW = 8_000, 1_000, 64
TOKENS = LONG
"""Of a piece of work of either kind: one long prompt, or eight short ones."""


def measure(quick: bool) -> Outcome:
    """Long and short ones in turn."""
    repeats = 1 if quick else 5
    with our_sampler(str(bf16_directory()), max_length=LONG + NEW) as sampler:
        read = in_turn(sampler, reading, repeats)
    with Contestant("long", "train_ours.py", {"model": str(resolve_model(MODEL))}) as learner:
        learnt = in_turn(learner, learning, repeats)
    return Outcome([row("prefill", read), row("training", learnt)])


def in_turn(ours: Contestant, work: Callable[[int, int], Message], repeats: int) -> list[Pair]:
    """A long piece and a short one, again and again; the first time warms up."""
    pairs = []
    for repeat in range(repeats + 1):
        answers = [ours.ask(work(repeat, length)) for length in (LONG, SHORT)]
        say(f"{repeat}/{repeats} {LONG:,} tokens", *answers)
        pairs.append(Pair(*answers))
    return pairs[1:]


def reading(seed: int, length: int) -> Message:
    """Different prompts of this length, and one token to sample after each."""
    drawn = prompts(1000 * length + seed, requests=TOKENS // length, samples=1, tokens=length)
    return {"conversations": [[prompt] for prompt in drawn], "new": 1}


def learning(seed: int, length: int) -> Message:
    """Groups of two whose prompts are of this length."""
    rows = rollouts(seed, groups=TOKENS // length, samples=2, prompt=length, new=NEW)
    return {"rows": rows, "prompt": length}


def row(what: str, pairs: list[Pair]) -> Row:
    """Prompt tokens a second."""
    return Row.of(
        f"{what} with prompts of {LONG:,} tokens",
        UNIT,
        Comparison.of(pairs, lambda answer: TOKENS / answer["seconds"]),
        against=f"prompts of {SHORT:,}",
        target=0.6,
    )
