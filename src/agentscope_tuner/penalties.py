"""What is added to logits and what divides them, before a token is drawn.

A token's logit z becomes

    z / r if z > 0 else z * r     where the prompt or the answer so far has the token
      - frequency * c             where the answer so far has it c times
      - presence                  where the answer so far has it
      + bias                      where the request names it

The repetition penalty r is CTRL's (Keskar et al. 2019), the others are OpenAI's. What depends on
the tokens so far follows from the tokens: sampler and learner both count them, and nothing but the
parameters is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Penalties:
    """The parameters; the defaults change nothing."""

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()
    """(token, what is added to its logit)"""

    @property
    def none(self) -> bool:
        """Whether nothing is changed."""
        return self == Penalties()


@dataclass(frozen=True, slots=True)
class LogitChange:
    """What happens to the logits of one position."""

    repetition: float
    seen: NDArray[np.int64]
    """Tokens that the repetition penalty is for."""
    tokens: NDArray[np.int64]
    added: NDArray[np.float32]
    """What is added to the logits of `tokens`."""


class TokenHistory:
    """The tokens before the next position, as penalties count them.

    Args:
        penalties: what they are counted for.
        prompt_ids: before the answer.
    """

    def __init__(self, penalties: Penalties, prompt_ids: Iterable[int]) -> None:
        self._penalties = penalties
        self._seen = dict.fromkeys(prompt_ids) if penalties.repetition != 1 else {}
        self._counts: Counter[int] = Counter()
        self._bias = dict(penalties.bias)

    def push(self, token: int) -> None:
        """Append a token of the answer."""
        if self._penalties.repetition != 1:
            self._seen[token] = None
        if self._penalties.presence or self._penalties.frequency:
            self._counts[token] += 1

    def change(self) -> LogitChange:
        """What happens to the next position's logits."""
        penalties = self._penalties
        added = self._bias.copy()
        for token, count in self._counts.items():
            penalty = penalties.presence + penalties.frequency * count
            added[token] = added.get(token, 0.0) - penalty
        return LogitChange(
            penalties.repetition,
            np.fromiter(self._seen, np.int64, len(self._seen)),
            np.fromiter(added, np.int64, len(added)),
            np.fromiter(added.values(), np.float32, len(added)),
        )
