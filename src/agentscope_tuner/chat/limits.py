"""How much one request may ask for, so that none of them stalls the others.

Each limit is far above what agents send. It is checked before the work that it bounds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.errors import RequestError

MAX_BODY = 4 * 2**20
"""Bytes of a request."""
MAX_ITEMS = 32_768
"""Values in a request's JSON: items of all lists and fields of all objects."""
MAX_SCHEMA = 64 * 2**10
"""Characters of an answer's JSON schema, and of all parameters of tools whose call is forced."""
MAX_TEMPLATE_ARGUMENTS = 4 * 2**10
"""Characters of `chat_template_kwargs` as JSON."""
MAX_BIASES = 1024
"""Tokens of a `logit_bias`."""
MAX_STOPS = 16
"""Stop strings."""
MAX_STOP_LENGTH = 256
"""Characters of a stop string: the sampler looks back as far at every token."""
MAX_CHOICES = 128
"""Completions of one request (OpenAI's own limit)."""

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,]', re.DOTALL)


def check_items(body: bytes) -> None:
    """RequestError if the JSON in `body` has too many values to be looked at one by one."""
    if sum(map(body.count, (b",", b"[", b"{"))) <= MAX_ITEMS:
        return  # the usual case, at the speed of memory
    items = 0
    for token in _STRUCTURE.finditer(body):
        items += body[token.start()] != ord('"')  # punctuation within strings is text
        if items > MAX_ITEMS:
            raise RequestError(f"The request has more than {MAX_ITEMS} values.")


def check_size(name: str, value: Any, most: int) -> None:
    """RequestError if `value`, as JSON, is longer than `most` characters."""
    size = len(json.dumps(value))
    if size > most:
        raise RequestError(f"{name} is {size} characters long; {most} are served.", param=name)


def check_length(
    messages: Sequence[dict[str, Any]],
    tools: Any,
    tokenizer: PreTrainedTokenizerBase,
    most_tokens: int,
) -> None:
    """RequestError for a conversation that cannot fit, whatever its tokens are.

    It has more characters than `most_tokens` of the longest token have. Tokenising it to find out
    by how much would take seconds.
    """
    most = most_tokens * _longest_token(tokenizer)
    size = text_length([messages, tools])
    if size > most:
        raise RequestError(
            f"This model's maximum context length is {most_tokens} tokens, which are at most "
            f"{most} characters, but the messages have {size}.",
            param="messages",
            code="context_length_exceeded",
        )


def text_length(value: Any) -> int:
    """Characters of all text in it."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(text_length, value.values()))
    return sum(map(text_length, value)) if isinstance(value, list) else 0


_longest: WeakKeyDictionary[PreTrainedTokenizerBase, int] = WeakKeyDictionary()
"""Keeps no tokenizer alive: each is some 8 MB."""


def _longest_token(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer not in _longest:
        _longest[tokenizer] = max(map(len, tokenizer.get_vocab()))
    return _longest[tokenizer]
