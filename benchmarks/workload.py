"""Pieces of work that change from one repeat to the next, so that no cache helps by accident."""

from __future__ import annotations

import random
from dataclasses import dataclass

ORDINARY_TOKENS = range(100, 40_000)
"""Ids of SmolLM2's vocabulary that are no special tokens."""

Group = list[list[int]]
"""Rows of tokens."""


def prompts(seed: int, *, requests: int, samples: int, tokens: int) -> list[list[int]]:
    """Random prompts, each one `samples` times in a row, `requests` in all."""
    draw = random.Random(seed)
    distinct = [draw.choices(ORDINARY_TOKENS, k=tokens) for _ in range(requests // samples)]
    return [prompt for prompt in distinct for _ in range(samples)]


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """Rollouts of several turns behind one system prompt: in each turn an observation is read and
    an answer sampled. A rollout's next turn arrives when its last one has ended."""

    rollouts: int
    shared: int
    """Tokens of system prompt and tools."""
    turns: int
    observed: int
    """Tokens a turn."""
    sampled: int
    """Tokens a turn."""

    def conversations(self, seed: int) -> list[list[list[int]]]:
        """By rollout and turn: the tokens to read before sampling."""
        draw = random.Random(seed)
        system = draw.choices(ORDINARY_TOKENS, k=self.shared)

        def observations() -> list[list[int]]:
            turns = [draw.choices(ORDINARY_TOKENS, k=self.observed) for _ in range(self.turns)]
            return [system + turns[0], *turns[1:]]

        return [observations() for _ in range(self.rollouts)]

    def rollouts_given(self, seed: int) -> list[list[list[int]]]:
        """By rollout: what was read and what was then sampled, in turn, all of it given."""
        draw = random.Random(-seed - 1)
        return [
            [
                part
                for read in turns
                for part in (read, draw.choices(ORDINARY_TOKENS, k=self.sampled))
            ]
            for turns in self.conversations(seed)
        ]

    @property
    def sampled_tokens(self) -> int:
        """Of all rollouts."""
        return self.rollouts * self.turns * self.sampled

    @property
    def computed_tokens(self) -> int:
        """Those that have to be computed: the system prompt once, a last sampled one never."""
        own = self.turns * (self.observed + self.sampled) - 1
        return self.shared + self.rollouts * own

    @property
    def attended_tokens(self) -> int:
        """Tokens that all computed tokens see, each itself included."""
        length = self.shared + self.turns * (self.observed + self.sampled) - 1
        return triangle(self.shared) + self.rollouts * (triangle(length) - triangle(self.shared))


def triangle(n: int) -> int:
    """1 + 2 + ... + n."""
    return n * (n + 1) // 2


def rollouts(
    seed: int, *, groups: int, samples: int, prompt: int, new: int
) -> list[list[list[int]]]:
    """Groups of token rows, each a prompt that its group shares and a completion of its own."""
    draw = random.Random(seed)
    rows: list[Group] = []
    for _ in range(groups):
        shared = draw.choices(ORDINARY_TOKENS, k=prompt)
        rows.append([shared + draw.choices(ORDINARY_TOKENS, k=new) for _ in range(samples)])
    return rows
