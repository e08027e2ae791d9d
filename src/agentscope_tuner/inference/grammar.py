"""Constrained decoding with llguidance."""

from __future__ import annotations

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


class GrammarError(ValueError):
    """A grammar that llguidance cannot compile, or that outgrew its limits on the way."""


class Grammar:
    """Where one completion stands in its grammar."""

    def __init__(self, matcher: LLMatcher, vocab_size: int, end_token: int) -> None:
        self._matcher = matcher
        self._bytes = -(-vocab_size // 8)
        self.end_token = end_token
        """The token that ends a completion whose grammar allows nothing more."""

    @property
    def complete(self) -> bool:
        """Whether the grammar allows nothing more than to end."""
        return self._matcher.is_stopped()

    def allowed(self) -> NDArray[np.uint8]:
        """What may come next, one bit a token of the model's vocabulary.

        Raises GrammarError if it would take too long to find out.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.pad(mask, (0, max(0, self._bytes - len(mask))))[: self._bytes]

    def advance(self, token: int) -> None:
        """Take a token that was allowed."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"the grammar broke down: {_first_line(self._matcher)}")


class GrammarCompiler:
    """Makes grammars for one model; safe to use from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._by_end: dict[tuple[int, ...], LLTokenizer] = {}

    def compile(self, grammar: str, stop_token_ids: tuple[int, ...]) -> Grammar:
        """Start a grammar that one of the stop tokens ends (none given: the tokenizer's own).

        Raises GrammarError if llguidance refuses the grammar. The first call for a set of stop
        tokens takes about a second.
        """
        if not isinstance(self._tokenizer, PreTrainedTokenizerFast):
            raise GrammarError("constrained decoding needs a fast tokenizer (tokenizer.json)")
        ends = stop_token_ids or (self._tokenizer.eos_token_id,)
        if ends not in self._by_end:
            self._by_end[ends] = from_tokenizer(
                self._tokenizer,
                n_vocab=max(self._vocab_size, len(self._tokenizer)),
                eos_token=list(ends),
            )
        matcher = LLMatcher(self._by_end[ends], grammar, log_level=0, limits=parser_limits())
        if matcher.is_error():
            raise GrammarError(f"not a usable grammar: {_first_line(matcher)}")
        return Grammar(matcher, self._vocab_size, ends[0])


def parser_limits() -> LLParserLimits:
    """How much work one grammar may make: about a tenth of a second before, 20 ms at each token.

    All other requests wait for a token's mask. The defaults of llguidance allow ten times as much.
    """
    return LLParserLimits(
        initial_lexer_fuel=500_000,
        step_lexer_fuel=100_000,
        step_max_items=10_000,
        max_lexer_states=50_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


def _first_line(matcher: LLMatcher) -> str:
    return str(matcher.get_error()).partition("\n")[0]
