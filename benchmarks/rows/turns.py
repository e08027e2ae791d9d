"""An agent of T turns: does the cost grow with its tokens, or with T squared?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from models import MODEL
from race import Contestant, Message
from results import Outcome, Row

from agentscope_tuner.inference.loading import resolve_model

TURNS = (2, 4, 8, 16)
ROLLOUTS, PROMPT, OBSERVATION, NEW = 8, 64, 32, 32


@dataclass(frozen=True, slots=True)
class Point:
    """Medians at one number of turns."""

    turns: int
    training_seconds: float
    sampling_seconds: float
    prefill_tokens: float
    packed_tokens: float
    separate_tokens: float

    @property
    def unique_tokens(self) -> int:
        """Of all rollouts, the shared prompt once."""
        return PROMPT + ROLLOUTS * self.turns * (OBSERVATION + NEW)


def measure(quick: bool) -> Outcome:
    """The power of the unique tokens that the cost grows with: 1 is linear."""
    repeats = 1 if quick else 3
    answers: dict[int, list[Message]] = {turns: [] for turns in TURNS}
    settings = {"model": str(resolve_model(MODEL))}
    with Contestant("ours-turns", "turns_ours.py", settings) as ours:
        ours.ask(request(TURNS[0], seed=0))
        for seed in range(1, repeats + 1):
            for turns in TURNS:
                answers[turns].append(ours.ask(request(turns, seed)))
    points = [point(turns, answers[turns]) for turns in TURNS]
    unique = [p.unique_tokens for p in points]
    separately, _ = power(unique, [p.separate_tokens for p in points])
    grown = {
        "training time": [p.training_seconds for p in points],
        "prefill tokens": [p.prefill_tokens for p in points],
    }
    rows = []
    for what, values in grown.items():
        ours, _ = power(unique, values)
        rows.append(
            Row(
                f"an agent of {TURNS[0]} to {TURNS[-1]} turns: growth of the {what} as a power of "
                "the unique tokens",
                "",
                target=None,
                lower_is_better=True,
                ours=ours,
                against="each turn by itself",
                peer=separately,
                ratio=ours / separately,
            )
        )
    return Outcome(rows, details(points))


def request(turns: int, seed: int) -> Message:
    """One group of conversations."""
    return {
        "turns": turns,
        "seed": seed,
        "rollouts": ROLLOUTS,
        "prompt": PROMPT,
        "observation": OBSERVATION,
        "new": NEW,
    }


def point(turns: int, answers: Sequence[Message]) -> Point:
    """The medians of all repeats."""
    names = Point.__slots__[1:]
    return Point(turns, *(statistics.median(answer[name] for answer in answers) for name in names))


def power(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The power of x that y grows with, by least squares over the logarithms, and its R2."""
    log_x, log_y = np.log(x), np.log(y)
    slope, offset = np.polyfit(log_x, log_y, 1)
    residual = log_y - (slope * log_x + offset)
    r2 = 1 - (residual**2).sum() / ((log_y - log_y.mean()) ** 2).sum()
    return float(slope), float(r2)


def fitted(x: Sequence[float], y: Sequence[float]) -> str:
    """The power and its R2, to be read."""
    return "{:.2f} (R2 {:.3f})".format(*power(x, y))


def details(points: Sequence[Point]) -> str:
    """All points, and the fits."""
    unique = [p.unique_tokens for p in points]
    separate = [p.separate_tokens for p in points]
    lines = [
        f"| {p.turns} | {p.unique_tokens:,} | {p.packed_tokens:,.0f} | {p.separate_tokens:,.0f} | "
        f"{p.prefill_tokens:,.0f} | {p.sampling_seconds:.2f} | {p.training_seconds:.2f} |"
        for p in points
    ]
    fits = [
        f"| {name} | {fitted(unique, values)} | {fitted(separate, values)} |"
        for name, values in {
            "training seconds": [p.training_seconds for p in points],
            "sampling seconds": [p.sampling_seconds for p in points],
            "prefill tokens": [p.prefill_tokens for p in points],
            "packed tokens": [p.packed_tokens for p in points],
            "tokens, each turn separately": separate,
        }.items()
    ]
    return "\n".join(
        [
            "## An agent of several turns",
            "",
            f"{ROLLOUTS} rollouts of a prompt of {PROMPT} tokens; in each turn an observation of "
            f"{OBSERVATION} tokens and an answer of {NEW}.",
            "",
            "| turns | unique tokens | packed tokens | each turn separately | prefill tokens | "
            "sampling s | training s |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
            "Exponents of growth, fitted over these points:",
            "",
            "| | over unique tokens | over tokens of each turn separately |",
            "| --- | --- | --- |",
            *fits,
        ]
    )
