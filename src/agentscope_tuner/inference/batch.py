"""One step's work for the decoder: a flat run of tokens from many sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agentscope_tuner.inference.pages import PAGE_TOKENS


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens of one sequence: those at positions `start .. start + len(tokens) - 1`."""

    tokens: Sequence[int]
    start: int
    pages: Sequence[int]
    """Indices of the sequence's cache pages; they have room for the new tokens."""
    wants_logits: bool
    """Whether the logits behind the last of the tokens are needed."""

    @property
    def end(self) -> int:
        """The position behind the last token."""
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """Spans as tensors: `T` tokens of `S` spans with at most `P` pages each."""

    spans: Sequence[Span]
    singles: int
    """The first so many spans have one token each; the others have more."""
    tokens_T: Tensor
    positions_T: Tensor
    span_T: Tensor
    """Index of the span that each token belongs to."""
    pages_SP: Tensor
    """Page indices by span (int32), padded with 0."""
    logit_rows: Tensor
    """Indices into T of the tokens whose logits are needed, in the order of the spans."""

    @classmethod
    def build(cls, spans: Sequence[Span], device: torch.device) -> Batch:
        """Lay spans out; those of one token must come first."""
        lengths_S = np.array([len(span.tokens) for span in spans])
        ends_S = lengths_S.cumsum()
        starts_S = np.array([span.start for span in spans])
        span_T = np.repeat(np.arange(len(spans)), lengths_S)
        positions_T = np.arange(ends_S[-1]) - (ends_S - lengths_S - starts_S)[span_T]
        pages_SP = np.zeros((len(spans), max(len(s.pages) for s in spans)), np.int32)
        for row, span in zip(pages_SP, spans, strict=True):
            row[: len(span.pages)] = span.pages
        tokens_T = np.concatenate([span.tokens for span in spans])
        logit_rows = ends_S[[span.wants_logits for span in spans]] - 1

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        return cls(
            spans=spans,
            singles=int((lengths_S == 1).sum()),
            tokens_T=tensor(tokens_T),
            positions_T=tensor(positions_T),
            span_T=tensor(span_T),
            pages_SP=tensor(pages_SP),
            logit_rows=tensor(logit_rows),
        )

    def longer_spans(self) -> Iterator[tuple[int, slice]]:
        """Index and rows of each span of more than one token."""
        start = self.singles
        for index in range(self.singles, len(self.spans)):
            yield index, slice(start, start := start + len(self.spans[index].tokens))

    @property
    def write_places(self) -> tuple[Tensor, Tensor]:
        """Page index and place in the page of each token's keys and values, both `[T]`."""
        page_T = self.pages_SP[self.span_T, self.positions_T // PAGE_TOKENS].long()
        return page_T, self.positions_T % PAGE_TOKENS
