"""What every sampler speaks: token ids in, token ids and log-probabilities out.

A sampler never sees text or messages. It draws from the distribution that the parameters describe
(temperature, nucleus, grammar) and reports the log-probability *under that distribution*, so that a
learner can form exact importance ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agentscope_tuner.penalties import Penalties

FinishReason = Literal["stop", "length", "abandoned"]
"""`stop`: a stop token or stop string was sampled, or a grammar ended; `length`: cut off;
`abandoned`: nobody wanted the rest."""

Support = NDArray[np.int32] | NDArray[np.uint8]
"""The tokens that could have been drawn at one position, where not all of the vocabulary could.

Either sorted token ids (int32), or, where the set is large, one bit a token of the vocabulary
(uint8, `np.packbits(..., bitorder="little")`)."""


LEAST_TEMPERATURE = 1e-5
"""The lowest temperature above 0: divided by less, differences of logits that are nothing but
rounding decide, and then float32 overflows. The bound is vLLM's (`_SAMPLING_EPS`)."""


class RefusedSampling(ValueError):
    """Parameters that a sampler does not serve."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw one completion."""

    max_tokens: int
    """The most tokens to sample; the prompt and these together never exceed the model's length."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most likely token (its log-probability is then 0).
    Whatever is below `LEAST_TEMPERATURE` becomes 0."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probability reaches this (1: all of them)."""
    top_k: int = 0
    """Keep so many of the most likely tokens (0: all of them)."""
    min_p: float = 0.0
    """Keep the tokens that are at least this many times as likely as the likeliest."""
    penalties: Penalties | None = None
    """What changes the logits before anything else; None: nothing."""
    stop_token_ids: tuple[int, ...] = ()
    """Sampling ends after one of these; the token itself belongs to the completion."""
    stop: tuple[str, ...] = ()
    """Sampling ends when the decoded completion contains one of these."""
    seed: int | None = None
    """Same prompt, parameters, weights, seed: same completion. None: the sampler's own stream."""
    grammar: str | None = None
    """An llguidance grammar (`LLMatcher.grammar_from_*`) that the completion must satisfy."""
    top_logprobs: int = 0
    """Report this many of the most likely tokens at each position."""

    def __post_init__(self) -> None:
        if 0 < self.temperature < LEAST_TEMPERATURE:
            object.__setattr__(self, "temperature", 0.0)  # the way into a frozen dataclass


@dataclass(slots=True)
class Completion:
    """What was sampled. All lists have one entry a sampled token."""

    token_ids: list[int]
    logprobs: list[float]
    """Natural log-probability of each token under the distribution that it was drawn from."""
    forced: list[bool]
    """True where exactly one token was possible (by the grammar, a nucleus of one, or temperature
    0): nothing was decided, nothing is learnt."""
    supports: dict[int, Support]
    """Index of a token -> what could have been drawn there; absent: the whole vocabulary."""
    finish_reason: FinishReason
    version: int
    """Version of the weights that sampled the first token."""
    cached_tokens: int = 0
    """How many prompt tokens were taken from the prefix cache."""
    top_logprobs: list[list[tuple[int, float]]] = field(default_factory=list)
    version_changes: list[tuple[int, int]] = field(default_factory=list)
    """(index, version) of each token from which on other weights sampled."""

    def first(self, count: int) -> Completion:
        """The completion as if it had been abandoned after so many tokens."""
        if count >= len(self.token_ids):
            return self
        return Completion(
            token_ids=self.token_ids[:count],
            logprobs=self.logprobs[:count],
            forced=self.forced[:count],
            supports={index: one for index, one in self.supports.items() if index < count},
            finish_reason="abandoned",
            version=self.version,
            cached_tokens=self.cached_tokens,
            top_logprobs=self.top_logprobs[:count],
            version_changes=[change for change in self.version_changes if change[0] < count],
        )


class Sampler(Protocol):
    """One model that can be sampled from; safe to call from one event loop, concurrently."""

    @property
    def version(self) -> int:
        """Version of the weights that it samples from now."""
        ...

    @property
    def max_model_len(self) -> int:
        """Most tokens of a prompt and its completion together."""
        ...

    async def sample(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        on_token: Callable[[int], None] | None = None,
        abandoned: Callable[[], bool] | None = None,
    ) -> Completion:
        """Sample one completion. Cancelling the awaiting task ends the request at once.

        `on_token` is called on the event loop with each sampled token (streaming). `abandoned` is
        asked after each token, in whatever thread: True ends the completion there.
        Raises ValueError if the prompt leaves no room for a token, GrammarError if the grammar
        cannot be followed, which may turn out late.
        """
        ...

    async def rest(self) -> None:
        """Give back what memory the weights take, as far as that is possible, until there are new
        ones: calls that come before `load_weights` wait for it."""
        ...

    async def load_weights(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Take new weights under their Hugging Face names; caches of the old ones are dropped."""
        ...

    async def close(self) -> None:
        """End all requests and give the memory back."""
        ...
