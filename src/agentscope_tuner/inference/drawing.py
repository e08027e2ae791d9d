"""Drawing one token a row, and its log-probability under the distribution it was drawn from.

The distribution is built in this order: a grammar's mask, the temperature, the nucleus (top_p,
Holtzman et al. 2020), and then normalised over what is left. A row needs one uniform number: the
drawn token is where the cumulative sum passes it. `torch.multinomial` would need an exponential
random number for every token of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentscope_tuner.errors import RunError
from agentscope_tuner.inference.base import Support
from agentscope_tuner.inference.ops import search
from agentscope_tuner.inference.penalised import penalise_
from agentscope_tuner.penalties import LogitChange

NUCLEUS_SIZES = (256, 4096)
"""How many of the most likely tokens are sorted before the whole vocabulary is."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How to draw from one row of logits."""

    temperature: float
    """0 takes the most likely token."""
    top_p: float
    uniform: float
    """The random number, in [0, 1)."""
    top_k: int = 0
    min_p: float = 0.0
    change: LogitChange | None = None
    """What penalties do to the logits."""
    allowed: NDArray[np.uint8] | None = None
    """What a grammar allows, one bit a token of the vocabulary; None: everything."""
    top_logprobs: int = 0

    @property
    def plain(self) -> bool:
        """Whether every token of the vocabulary may be drawn and no more is asked for."""
        return self.temperature > 0 and self.top_p == 1 and not self.restricted

    @property
    def restricted(self) -> bool:
        """Whether the row needs work of its own before the draw or after it."""
        return (
            self.allowed is not None
            or self.top_logprobs > 0
            or self.top_k > 0
            or self.min_p > 0
            or self.change is not None
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """One token."""

    token: int
    logprob: float
    """0 where nothing else could have been taken."""
    forced: bool = False
    """Whether nothing else could have been taken: by the grammar, the nucleus or temperature 0."""
    support: Support | None = None
    """What could have been drawn; None: the whole vocabulary, or temperature 0."""
    top_logprobs: list[tuple[int, float]] = field(default_factory=list)


def draw(
    logits_BV: Tensor,
    distributions: Sequence[Distribution],
    draw_plain: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> list[Draw]:
    """Draw one token from each row of logits; `draw_plain` is `TorchOps.draw` or its like.

    Raises RunError if the logits are not finite.
    """
    plain = [row for row, distribution in enumerate(distributions) if distribution.plain]
    other = [row for row, distribution in enumerate(distributions) if not distribution.plain]
    draws: dict[int, Draw] = {}
    if plain:
        rows_BV = logits_BV[plain] if other else logits_BV
        tokens, logprobs = draw_plain(
            rows_BV,
            torch.tensor([distributions[row].temperature for row in plain]),
            torch.tensor([distributions[row].uniform for row in plain], dtype=torch.float64),
        )
        for row, token, logprob in zip(plain, tokens.tolist(), logprobs.tolist(), strict=True):
            draws[row] = Draw(token, logprob)
    for row in other:
        draws[row] = _draw_one(logits_BV[row].float(), distributions[row])
    refuse_not_finite(draws.values())
    return [draws[row] for row in range(len(distributions))]


def refuse_not_finite(draws: Iterable[Draw]) -> None:
    """Raise RunError if the logits that these were drawn from are not finite."""
    if any(math.isnan(drawn.logprob) for drawn in draws):
        raise RunError(
            "the model's logits are not finite; if this happens after some steps of training, "
            "the learning rate is too high"
        )


def narrowed(logits_V: Tensor, distribution: Distribution) -> tuple[Tensor, Draw]:
    """One row (fp32) for who draws elsewhere: divided by the temperature, its softmax is what
    is to be drawn from.

    With it what is known of the draw before it is made: its token and log-probability are not.
    """
    kept = _keep(logits_V, distribution)
    row_V = torch.full_like(logits_V, -torch.inf)
    ids = slice(None) if kept.ids is None else kept.ids
    row_V[ids] = kept.p.log() * (distribution.temperature or 1.0)
    return row_V, Draw(-1, math.nan, kept.forced, kept.support, kept.top)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What may be drawn from one row."""

    ids: Tensor | None
    """None: the whole vocabulary."""
    p: Tensor
    """Probabilities, up to a common factor."""
    support: Support | None
    forced: bool
    top: list[tuple[int, float]]


def _draw_one(logits_V: Tensor, distribution: Distribution) -> Draw:
    """Draw from one row (fp32) whatever the distribution asks for."""
    kept = _keep(logits_V, distribution)
    p = kept.p
    uniform = torch.tensor([distribution.uniform], dtype=torch.float64, device=p.device)
    at = int(search(p[None], uniform))
    logprob = float((p[at] / p.sum()).log())
    token = at if kept.ids is None else int(kept.ids[at])
    return Draw(token, logprob, kept.forced, kept.support, kept.top)


def _keep(logits_V: Tensor, distribution: Distribution) -> _Kept:
    allowed, support, forced = distribution.allowed, None, False
    if distribution.change is not None:
        logits_V = logits_V.clone()
        penalise_(logits_V, distribution.change)
    if allowed is not None:
        bits_V = np.unpackbits(allowed, count=len(logits_V), bitorder="little").view(bool)
        logits_V = logits_V.masked_fill(~torch.from_numpy(bits_V).to(logits_V.device), -torch.inf)
        forced = int(bits_V.sum()) == 1
        support = as_support(np.flatnonzero(bits_V), len(logits_V))
    logps_V = (logits_V / (distribution.temperature or 1.0)).log_softmax(-1)
    top = _top_logprobs(logps_V, distribution.top_logprobs)
    if distribution.temperature == 0:
        best = logps_V.argmax()[None]
        return _Kept(best, logps_V.new_ones(1), None, True, top)
    if distribution.min_p > 0 or distribution.top_k > 0:
        logps_V = _truncated(logps_V, distribution)
        kept = np.flatnonzero(logps_V.isfinite().cpu().numpy())
        support, forced = as_support(kept, len(logits_V)), len(kept) == 1
    if distribution.top_p == 1:
        return _Kept(None, logps_V.exp(), support, forced, top)
    ids, p = _nucleus(logps_V.exp(), distribution.top_p)
    support = as_support(np.sort(ids.cpu().numpy()), len(logits_V))
    return _Kept(ids, p, support, len(ids) == 1, top)


def _truncated(logps_V: Tensor, distribution: Distribution) -> Tensor:
    """The distribution over the tokens that min_p and then top_k leave, anew normalised."""
    if distribution.min_p > 0:
        least = logps_V.max() + math.log(distribution.min_p)
        logps_V = logps_V.masked_fill(logps_V < least, -torch.inf)
    if 0 < distribution.top_k < len(logps_V):
        logps_K, ids_K = logps_V.topk(distribution.top_k)
        logps_V = torch.full_like(logps_V, -torch.inf).scatter(0, ids_K, logps_K)
    return logps_V.log_softmax(-1)


def _nucleus(p_V: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Ids and probabilities of the smallest set whose probability reaches `top_p`."""
    for size in (*NUCLEUS_SIZES, len(p_V)):
        p_K, ids_K = p_V.topk(min(size, len(p_V)))
        before_K = p_K.cumsum(-1, dtype=torch.float64) - p_K
        count = int((before_K < top_p).sum())
        if count < len(p_K):
            break
    keep = (p_K > 0) & (torch.arange(len(p_K), device=p_K.device) < count)
    return ids_K[keep], p_K[keep]


def _top_logprobs(logps_V: Tensor, count: int) -> list[tuple[int, float]]:
    if count == 0:
        return []
    logps_K, ids_K = logps_V.topk(min(count, len(logps_V)))
    return list(zip(ids_K.tolist(), logps_K.tolist(), strict=True))


def as_support(ids: NDArray[np.int64], vocab_size: int) -> Support:
    """Sorted token ids in the smaller of the two forms of `Support`."""
    if ids.size * 4 <= vocab_size // 8:
        return ids.astype(np.int32)
    bits = np.zeros(vocab_size, np.uint8)
    bits[ids] = 1
    return np.packbits(bits, bitorder="little")
