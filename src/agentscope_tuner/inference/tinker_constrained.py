"""Answers of a given form from a service that follows no grammar.

What the grammar leaves no choice in is written here. For the rest the service samples freely, and
its tokens are taken as far as the grammar allows them. Behind the first that it does not allow,
one token is drawn from what it does, and the service goes on from there:

* where it allows few tokens, from their own probabilities, which the service is asked for;
* where it allows nearly all (inside of a text), by sampling again until a token is allowed.

Either is a draw from the model's distribution over the allowed tokens. In the end the service is
asked once for the probabilities of the allowed tokens wherever they were few, so that each token
has its own among them. Where nearly all were allowed, what the others would have had is taken for
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tinker
import torch
from numpy.typing import NDArray

from agentscope_tuner.inference.base import Completion, FinishReason, SamplingParams, Support
from agentscope_tuner.inference.grammar import Grammar, GrammarError
from agentscope_tuner.inference.tinker_rows import among, ids_of
from agentscope_tuner.inference.tinker_service import answer

FEW = 512
"""So many tokens at most are few: their probabilities are asked for."""
MOST_TRIES = 64
"""Samples for one token of many."""
FIRST_STRETCH = 32
"""Tokens that the service is asked for at first; later twice as many as were allowed last time."""


class Constrained:
    """One completion in the making."""

    def __init__(
        self,
        client: tinker.SamplingClient,
        prompt_ids: list[int],
        params: SamplingParams,
        grammar: Grammar,
        max_tokens: int,
    ) -> None:
        self._client = client
        self._prompt = prompt_ids
        self._params = params
        self._grammar = grammar
        self._max_tokens = max_tokens
        self._random = np.random.default_rng(params.seed)
        self._tokens: list[int] = []
        self._logprobs: list[float] = []
        self._stretch = FIRST_STRETCH
        self._few: dict[int, NDArray[np.int64]] = {}
        """Index of a token -> the few that were allowed there, sorted."""

    async def complete(self, version: int) -> Completion:
        """Sample to the grammar's end, or to the most tokens, by weights of this version.

        Raises GrammarError if the model writes nothing that is allowed.
        """
        reason: FinishReason | None = None
        tries, most_tries = 0, MOST_TRIES if self._params.temperature > 0 else 1
        while reason is None:
            if len(allowed := self._allowed()) == 1:
                reason, tries = self._take(allowed, int(allowed[0]), 0.0), 0
                continue
            at = len(self._tokens)
            reason = await self._freely()
            if reason is not None or len(allowed := self._allowed()) == 1:
                continue
            tries = tries + 1 if len(self._tokens) == at else 1
            if len(allowed) <= FEW:
                reason, tries = self._take(allowed, await self._draw(allowed), 0.0), 0
            elif tries == most_tries:
                raise GrammarError(f"{tries} samples at a Tinker service had no allowed token")
        await self._score()
        greedy = self._params.temperature == 0
        supports: dict[int, Support] = {i: ids.astype(np.int32) for i, ids in self._few.items()}
        forced = [greedy or len(self._few.get(i, ())) == 1 for i in range(len(self._tokens))]
        return Completion(
            token_ids=self._tokens,
            logprobs=[0.0] * len(self._tokens) if greedy else self._logprobs,
            forced=forced,
            supports={} if greedy else {i: s for i, s in supports.items() if not forced[i]},
            finish_reason=reason,
            version=version,
        )

    def _allowed(self) -> NDArray[np.int64]:
        """Ids of the tokens that may come next, sorted."""
        return np.flatnonzero(np.unpackbits(self._grammar.allowed(), bitorder="little"))

    def _take(self, allowed: NDArray[np.int64], token: int, logprob: float) -> FinishReason | None:
        """Append an allowed token; say whether, and why, it was the last."""
        self._append(allowed, token, logprob)
        if token in self._params.stop_token_ids:
            return "stop"
        self._grammar.advance(token)
        if self._grammar.complete:
            end = self._grammar.end_token
            if token != end and len(self._tokens) < self._max_tokens:
                self._append(np.array([end]), end, 0.0)
            return "stop"
        return "length" if len(self._tokens) >= self._max_tokens else None

    def _append(self, allowed: NDArray[np.int64], token: int, logprob: float) -> None:
        if len(allowed) <= FEW:
            self._few[len(self._tokens)] = allowed
        self._tokens.append(token)
        self._logprobs.append(logprob)

    async def _freely(self) -> FinishReason | None:
        """Take what the service samples, as far as it is allowed."""
        future = self._client.sample(
            tinker.ModelInput.from_ints(self._prompt + self._tokens),
            1,
            tinker.SamplingParams(
                max_tokens=min(self._stretch, self._max_tokens - len(self._tokens)),
                temperature=self._params.temperature,
                stop=list(self._params.stop_token_ids) or None,
                seed=int(self._random.integers(2**31)),
            ),
        )
        [drawn] = (await answer(future, "sample")).sequences
        assert drawn.logprobs is not None, "the service gives them with every sample"
        self._stretch = 1
        for token, logprob in zip(drawn.tokens, drawn.logprobs, strict=True):
            allowed = self._allowed()
            if token not in allowed:
                return None
            reason = self._take(allowed, token, logprob)
            if reason is not None:
                return reason
            self._stretch += 2
        return None

    async def _draw(self, allowed: NDArray[np.int64]) -> int:
        """One of a few tokens, as likely as the model has it."""
        last: list[Sequence[int]] = [[] for _ in self._prompt + self._tokens]
        last[-1] = allowed.tolist()
        # The row of a position scores the token behind it, so one is put there.
        [logprobs_K] = await self._logprobs_of(last, [*self._tokens, int(allowed[0])])
        if self._params.temperature == 0:
            return int(allowed[int(logprobs_K.argmax())])
        p_K = torch.softmax(logprobs_K.double(), 0).numpy()
        return int(self._random.choice(allowed, p=p_K / p_K.sum()))

    async def _score(self) -> None:
        """Give the tokens that were drawn among few their probabilities among these."""
        chosen = {i: ids.tolist() for i, ids in self._few.items() if len(ids) > 1}
        if not chosen or self._params.temperature == 0:
            return
        rows: list[Sequence[int]] = [[] for _ in range(len(self._prompt) - 1)]
        rows += [chosen.get(i, []) for i in range(len(self._tokens))]
        found = await self._logprobs_of(rows, self._tokens)
        for (i, row), logprobs_K in zip(chosen.items(), found, strict=True):
            self._logprobs[i] = float(among(logprobs_K, row, self._tokens[i]))

    async def _logprobs_of(
        self, rows: list[Sequence[int]], tokens: list[int]
    ) -> list[torch.Tensor]:
        """ln p of the tokens of each row that has any."""
        future = self._client.sample(
            tinker.ModelInput.from_ints(self._prompt + tokens),
            1,
            tinker.SamplingParams(max_tokens=1),
            target_prompt_logprobs=ids_of(rows),
        )
        response = await answer(future, "compute probabilities")
        assert response.target_prompt_logprobs is not None, "they were asked for"
        found_TK = response.target_prompt_logprobs.to_torch()
        return [found_TK[i, : len(row)] for i, row in enumerate(rows) if row]
