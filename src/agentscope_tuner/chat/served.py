"""A model as the endpoint serves it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.byte_cache import ByteCache
from agentscope_tuner.chat.detection import create_chat_renderer
from agentscope_tuner.chat.rendering import ChatRenderer
from agentscope_tuner.inference.base import Sampler

PROMPT_CACHE_BYTES = 16 * 2**20
"""Memory for the tokens of rendered prompts, four bytes each."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A sampler with its tokenizer, its renderer and the defaults of its requests."""

    name: str
    """What requests call it in their `model` field."""
    sampler: Sampler
    tokenizer: PreTrainedTokenizerBase
    renderer: ChatRenderer
    max_tokens: int
    """The most tokens to sample if a request sets no limit."""
    temperature: float
    top_p: float
    top_k: int
    """-1 and 0: all tokens."""
    max_prompt_tokens: int | None
    """Longer prompts are refused; None: those that leave no room for an answer."""
    prompts: ByteCache[array[int]] = field(
        default_factory=lambda: ByteCache(PROMPT_CACHE_BYTES, lambda ids: len(ids) * ids.itemsize)
    )
    """Prompts that were rendered before: the rollouts of a group all begin with the same one."""


def serve_model(
    name: str,
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
    *,
    model_type: str | None = None,
    max_tokens: int = 8192,
    max_prompt_tokens: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = -1,
    enable_thinking: bool | None = None,
    tool_call_parser: str | None = "hermes",
    reasoning_parser: str | None = "deepseek_r1",
    eos_token_ids: Iterable[int] = (),
) -> ServedModel:
    """Make a model ready to be served.

    Args:
        name: what requests call it.
        sampler: samples its tokens.
        tokenizer: with a chat template.
        model_type: of the model's Hugging Face config, to find the renderer of its family.
        max_tokens: limit of a request that sets none.
        max_prompt_tokens: longer prompts are refused; None: those that leave no room for an answer.
        temperature: of a request that sets none.
        top_p: of a request that sets none.
        top_k: of a request that sets none.
        enable_thinking: the chat template's argument; None leaves it to the template.
        tool_call_parser: the form of tool calls, None to leave them in the content.
        reasoning_parser: the form of thinking, None to leave it in the content.
        eos_token_ids: tokens that end a turn besides the renderer's (the generation config's).

    Raises:
        InputError: the model has no chat template, a parser is unknown, or `enable_thinking` has no
            effect.
    """
    renderer = create_chat_renderer(
        tokenizer,
        model_type=model_type,
        tool_call_parser=tool_call_parser,
        reasoning_parser=reasoning_parser,
        enable_thinking=enable_thinking,
        eos_token_ids=eos_token_ids,
    )
    return ServedModel(
        name,
        sampler,
        tokenizer,
        renderer,
        max_tokens,
        temperature,
        top_p,
        top_k,
        max_prompt_tokens,
    )
