"""What a run and the processes of its ranks tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """A rank's place among the others."""

    rank: int
    world: int
    store: tuple[str, int]
    """Rank 0's address and port, where they find each other."""
    patience_s: float
    """For the others to come to where this one waits for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A verb of one of the parts."""

    part: str
    verb: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    value: Any = None
    """None but of rank 0, as all know the same."""
    columns: dict[str, Tensor] | None = None
    """Of the batch that the call was about."""
    error: BaseException | None = None
