"""How attention is cut into work for the CPU kernel: tiles of tokens over runs of pages.

Sequences that begin alike share pages. What several of a batch's sequences share is read once for
all of their tokens (Juravsky et al. 2024, Hydragen; here for every fork of a tree of sequences),
before each goes on through its own pages. Runs end at whole blocks of pages, which is where the
kernel can stop and go on without changing a bit of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentscope_tuner.inference.batch import Batch, Span
from agentscope_tuner.inference.pages import PAGE_TOKENS

BLOCK_PAGES, ROWS = 8, 48
"""As in `kernels/attend.c`: pages that a tile's rows (a token's one query head) read together, and
how many rows of a key-value head these are at most."""
TO_THE_END = 2**30


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that read the same pages."""

    tokens: Sequence[int]
    """Rows of the batch."""
    begin: int
    """First page."""
    end: int
    """Page behind the last, `TO_THE_END` if the tokens have no other run behind this one."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """What the kernel is called with."""

    levels: Sequence[Tensor]
    """Tiles int32 `[U, 5]` (first, count, begin, end, last): tokens `order[first : first + count]`.
    A token's runs lie on ascending levels."""
    order: Tensor
    """Int32."""
    state: Tensor
    """Where tokens wait between their runs: fp32 `[T, heads, head_dim + 2]`, or empty."""

    @classmethod
    def build(cls, batch: Batch, heads: int, kv_heads: int, head_dim: int) -> Tiles:
        """Cut a batch's attention."""
        group = heads // kv_heads
        size = ROWS // group
        levels, order = list[Tensor](), list[int]()
        for runs in run_levels(batch):
            tiles = []
            for run in runs:
                for at in range(0, len(run.tokens), size):
                    count = min(size, len(run.tokens) - at)
                    last = int(run.end == TO_THE_END)
                    tiles.append((len(order) + at, count, run.begin, run.end, last))
                order += run.tokens
            levels.append(torch.tensor(tiles, dtype=torch.int32))
        rows = len(batch.tokens_T) if len(levels) > 1 else 0
        return cls(
            levels, torch.tensor(order, dtype=torch.int32), torch.empty(rows, heads, head_dim + 2)
        )


def run_levels(batch: Batch) -> list[list[Run]]:
    """The runs of a batch's tokens; every token's last one goes to the end."""
    tokens, start = list[range](), 0
    for span in batch.spans:
        tokens.append(range(start, start := start + len(span.tokens)))
    levels: list[list[Run]] = []

    def cut(members: Sequence[int], block: int, level: int) -> None:
        """Runs of spans that share all blocks before this one."""
        if level == len(levels):
            levels.append([])
        branches: dict[object, list[int]] = {}
        for member in members:
            pages = whole_block(batch.spans[member], block)
            branches.setdefault(pages or member, []).append(member)
        for branch in branches.values():
            begin, end = block * BLOCK_PAGES, TO_THE_END
            if len(branch) > 1:
                shared = block + 1
                while same_block([batch.spans[member] for member in branch], shared):
                    shared += 1
                end = shared * BLOCK_PAGES
                cut(branch, shared, level + 1)
            rows = [row for member in branch for row in tokens[member]]
            levels[level].append(Run(rows, begin, end))

    cut(range(len(batch.spans)), 0, 0)
    return levels


def same_block(spans: Sequence[Span], block: int) -> bool:
    """Whether all of them share it."""
    pages = whole_block(spans[0], block)
    return bool(pages) and all(whole_block(span, block) == pages for span in spans[1:])


def whole_block(span: Span, block: int) -> tuple[int, ...]:
    """The pages of a block, if all of it lies before the span."""
    begin, end = block * BLOCK_PAGES, (block + 1) * BLOCK_PAGES
    return tuple(span.pages[begin:end]) if end * PAGE_TOKENS <= span.start else ()
