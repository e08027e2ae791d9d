"""Pieces of work that change from one repeat to the next, so that no cache helps by accident."""

from __future__ import annotations

import random

ORDINARY_TOKENS = range(100, 40_000)
"""Ids of SmolLM2's vocabulary that are no special tokens."""

Group = list[list[int]]
"""Rows of tokens."""


def prompts(seed: int, *, requests: int, samples: int, tokens: int) -> list[list[int]]:
    """Random prompts, each one `samples` times in a row, `requests` in all."""
    draw = random.Random(seed)
    distinct = [draw.choices(ORDINARY_TOKENS, k=tokens) for _ in range(requests // samples)]
    return [prompt for prompt in distinct for _ in range(samples)]


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
