"""What a case is: one question to ours and to a peer, and whether the answers are to agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agreement.draws import Draw
from agreement.ours import Answer, answer

EVERYTHING = ("advantage", "loss", "gradient")
PART = ("loss", "gradient")


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the page."""

    type: str
    """Our `algorithm_type`, or a part that several types share."""
    what: str
    """Which part of it, and under which settings."""
    peer: str
    ours: Callable[[Draw], Answer]
    theirs: Mapping[str, Any]
    """The question; the draw is added."""
    draws: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `draw`."""
    compared: tuple[str, ...] = EVERYTHING
    differs: str = ""
    """Where the answers differ: how docs/algorithms.md names it, in the column `here`."""
    in_order: bool = True
    """False: which of equal rollouts gets what is drawn, so numbers are compared as a set."""


def ours(algorithm_type: str, *, given: bool = False, **settings: Any) -> Callable[[Draw], Answer]:
    """Our answer for a type with these settings."""
    return partial(answer, settings={"algorithm_type": algorithm_type, **settings}, given=given)


NO_NUMBERS = {
    "`remax` draws its greedy rollout": "tests/engine/test_ppo.py",
    "`clipv` computes the mean": "tests/algorithms/test_section_5_ratios.py",
    "the critic's output begins at 0": "tests/training/test_critic.py",
    "`critic_warmup` without a critic is refused": "tests/training/test_critic.py",
}
"""Differences that no function's number shows, and the test that holds our side."""

NO_PEER = {
    "cpt": "the loss of `sft`",
    "sdpo": "the advantage of `on_policy_distill` with `cispo`'s loss, of another teacher",
    "m2po": "an open pull request in Trinity-RFT",
    "maxrl": "in prime-rl and SkyRL, which do not install here",
}
"""Types without a peer to ask, and why."""
