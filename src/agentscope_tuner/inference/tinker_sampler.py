"""A sampler at a Tinker service: token ids go there, token ids and log-probabilities come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tinker
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.inference.base import Completion, RefusedSampling, SamplingParams
from agentscope_tuner.inference.grammar import GrammarCompiler
from agentscope_tuner.inference.tinker_constrained import Constrained
from agentscope_tuner.inference.tinker_service import TunedAtService, answer

SEEDS = 2**31
"""The service's seeds are smaller than ours."""
COMPILING_THREADS = 4
"""Grammars compiled at once: a slow one does not hold up the others."""


class TinkerSampler:
    """One model at the service."""

    def __init__(
        self,
        client: tinker.SamplingClient,
        tokenizer: PreTrainedTokenizerBase,
        max_model_len: int,
        vocab_size: int,
    ) -> None:
        """Sample from what `client` does, until there are other weights.

        `vocab_size` is the model's, which may be more than the tokenizer's.
        """
        self._client = client
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._version = 0
        self._grammars = GrammarCompiler(tokenizer, vocab_size)
        self._compiling = DaemonThreadPool(COMPILING_THREADS, "grammar")

    @property
    def version(self) -> int:
        """See `Sampler.version`."""
        return self._version

    @property
    def max_model_len(self) -> int:
        """See `Sampler.max_model_len`."""
        return self._max_model_len

    async def sample(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        on_token: Callable[[int], None] | None = None,
        abandoned: Callable[[], bool] | None = None,
    ) -> Completion:
        """See `Sampler.sample`; `on_token` is called when all tokens are there.

        Raises RefusedSampling for what the service does not do, and GrammarError as `Sampler` says,
        also where the model hardly ever writes what is allowed; RunError if the service fails.
        """
        refuse_unserved(params)
        room = self._max_model_len - len(prompt_ids)
        if room < 1:
            raise ValueError(f"the prompt has {len(prompt_ids)} tokens, which leaves no room")
        most = min(params.max_tokens, room)
        client, version = self._client, self._version
        if params.grammar is None:
            completion = await self._free(client, version, prompt_ids, params, most)
        else:
            grammar = await self._compiling.run(
                self._grammars.compile, params.grammar, params.stop_token_ids
            )
            constrained = Constrained(client, prompt_ids, params, grammar, most)
            completion = await constrained.complete(version)
        completion = self._cut_at(completion, params.stop)
        for count, token in enumerate(completion.token_ids, start=1):
            if on_token is not None:
                on_token(token)
            if abandoned is not None and abandoned():
                return completion.first(count)
        return completion

    async def rest(self) -> None:
        """See `Sampler.rest`: the service has the weights."""

    async def load_weights(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Sample from the learner's weights as they are now."""
        assert isinstance(weights, TunedAtService), "weights do not travel to the service"
        self._client = await weights.sampler()
        self._version = version

    async def close(self) -> None:
        """End the threads; the service has the model."""
        self._compiling.shutdown()

    async def _free(
        self,
        client: tinker.SamplingClient,
        version: int,
        prompt_ids: list[int],
        params: SamplingParams,
        max_tokens: int,
    ) -> Completion:
        greedy = params.temperature == 0
        future = client.sample(
            tinker.ModelInput.from_ints(prompt_ids),
            1,
            tinker.SamplingParams(
                max_tokens=max_tokens,
                temperature=params.temperature,
                stop=list(params.stop_token_ids) or None,
                seed=None if params.seed is None else params.seed % SEEDS,
            ),
            topk_sample_logprobs=params.top_logprobs,
        )
        response = await answer(future, "sample")
        [drawn] = response.sequences
        logprobs = drawn.logprobs
        assert logprobs is not None, "the service gives them with every sample"
        return Completion(
            token_ids=drawn.tokens,
            logprobs=[0.0] * len(drawn.tokens) if greedy else logprobs,
            forced=[greedy] * len(drawn.tokens),
            supports={},
            finish_reason=drawn.stop_reason,
            version=version,
            cached_tokens=response.prompt_cache_hit_tokens,
            top_logprobs=[top or [] for top in drawn.topk_logprobs or []],
        )

    def _cut_at(self, completion: Completion, stops: tuple[str, ...]) -> Completion:
        """The completion up to the token that completes a stop string; the service can stop at
        tokens or at strings, not at both."""
        if not stops:
            return completion
        ids = completion.token_ids
        for count in range(1, len(ids) + 1):
            text = self._tokenizer.decode(ids[:count], skip_special_tokens=False)
            if any(stop in text for stop in stops):
                cut = completion.first(count)
                cut.finish_reason = "stop"
                return cut
        return completion


def refuse_unserved(params: SamplingParams) -> None:
    """Raise RefusedSampling for what the service cannot do, or not say the probability of."""
    asked = {
        f"temperature {params.temperature:g}": params.temperature not in (0.0, 1.0),
        f"top_p {params.top_p:g}": params.top_p < 1,
        f"top_k {params.top_k}": params.top_k > 0,
        f"min_p {params.min_p:g}": params.min_p > 0,
        "penalties and logit_bias": params.penalties is not None,
        "log-probabilities of other tokens beside a form of the answer": params.grammar is not None
        and params.top_logprobs > 0,
    }
    if names := [name for name, is_asked in asked.items() if is_asked]:
        raise RefusedSampling(
            f"A Tinker service does not serve {', '.join(names)}: it gives log-probabilities over "
            "the whole vocabulary, at temperature 1 (or 0, which is not learnt from)."
        )
