"""The text of tokens, by the tokenizer that lies in the run directory (or in a checkpoint)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_LONGEST = 8
"""Tokens that one character may be made of."""


class Vocabulary:
    """Token ids as text. Without a tokenizer an id is shown as its number."""

    def __init__(self, run_directory: Path) -> None:
        self._tokenizer = _load(run_directory)
        self._texts: dict[int, str] = {}

    @property
    def missing(self) -> bool:
        """Whether there is no tokenizer to be found."""
        return self._tokenizer is None

    def texts(self, token_ids: Sequence[int]) -> list[str]:
        """One text a token; of tokens that are one character together the first has it all."""
        texts = [self._text(token) for token in token_ids]
        at = 0
        while at < len(texts):
            if _BROKEN in texts[at]:
                at += self._mend(texts, token_ids, at)
            at += 1
        return texts

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a sequence, special tokens included."""
        return "".join(self.texts(token_ids))

    def _mend(self, texts: list[str], token_ids: Sequence[int], at: int) -> int:
        """Put a character together that begins at `at`; how many tokens more it takes."""
        for count in range(2, _LONGEST):
            whole = self._decode(token_ids[at : at + count])
            if _BROKEN not in whole:
                texts[at : at + count] = [whole, *[""] * (count - 1)]
                return count - 1
        return 0

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._decode([token])
        return self._texts[token]

    def _decode(self, token_ids: Sequence[int]) -> str:
        if self._tokenizer is None:
            return "".join(f"[{token}]" for token in token_ids)
        # Alone, a token of some tokenizers loses its leading blank.
        anchor = self._tokenizer.decode([0], skip_special_tokens=False)
        whole = self._tokenizer.decode([0, *token_ids], skip_special_tokens=False)
        return whole[len(anchor) :] if whole.startswith(anchor) else whole


def _load(run_directory: Path) -> Tokenizer | None:
    checkpoints = run_directory.glob("global_step_*")
    newest = sorted(checkpoints, key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    for directory in (run_directory / "tokenizer", *reversed(newest)):
        path = directory / "tokenizer.json"
        if path.is_file():
            try:
                return Tokenizer.from_file(str(path))
            except Exception:  # the library raises nothing more exact
                continue
    return None
