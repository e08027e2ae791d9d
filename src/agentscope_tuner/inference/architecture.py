"""What the decoder must know about a model, read from its Hugging Face configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from agentscope_tuner.errors import InputError

ROTARY = {
    "llama": LlamaRotaryEmbedding,
    "mistral": MistralRotaryEmbedding,
    "qwen2": Qwen2RotaryEmbedding,
    "qwen3": Qwen3RotaryEmbedding,
    "gemma3_text": Gemma3RotaryEmbedding,
}
"""Model type -> transformers' rotary embedding, asked once for its table of angles."""

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotations that depend on the position alone. The others (`dynamic`, `longrope`) change with the
length of the sequence, so that cached keys would go stale."""

Activation = Literal["silu", "gelu_pytorch_tanh"]
ACTIVATIONS = ("silu", "gelu_pytorch_tanh")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes and switches of a decoder-only transformer."""

    model_type: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    activation: Activation
    norm_eps: float
    score_scale: float
    """Attention scores are multiplied by it."""
    windows: tuple[int | None, ...]
    """Per layer: how many tokens back it sees, itself included; None: all."""
    gemma: bool
    """Norm weights are stored minus one, norms also follow attention and feed-forward, and
    embeddings are scaled by sqrt(hidden_size)."""

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> Architecture:
        """Read a configuration; multimodal ones give their text decoder.

        Raises InputError if the decoder does not know the architecture.
        """
        check_architecture(config)
        text = config.get_text_config()
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        gemma = text.model_type == "gemma3_text"
        return cls(
            model_type=text.model_type,
            vocab_size=text.vocab_size,
            hidden_size=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=head_dim,
            activation=_activation(text),
            norm_eps=text.rms_norm_eps,
            score_scale=(text.query_pre_attn_scalar if gemma else head_dim) ** -0.5,
            windows=_windows(text),
            gemma=gemma,
        )

    def cache_bytes_per_token(self, dtype: torch.dtype) -> int:
        """Keys and values of one token over all layers, in bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * dtype.itemsize


def check_architecture(config: PreTrainedConfig) -> None:
    """Raise InputError if the decoder does not know this model, with what it does know."""
    text = config.get_text_config()
    if text.model_type not in ROTARY:
        raise InputError(
            f"the sampler does not know model type {text.model_type!r}; "
            f"it knows {', '.join(sorted(ROTARY))}"
        )
    rope_type = next((r for r in _rope_types(text) if r not in ROPE_TYPES), None)
    if rope_type is not None:
        raise InputError(
            f"the sampler does not know rope type {rope_type!r} of this {text.model_type} model; "
            f"it knows {', '.join(ROPE_TYPES)}"
        )
    if _activation(text) not in ACTIVATIONS:
        raise InputError(
            f"the sampler does not know activation {_activation(text)!r} of this "
            f"{text.model_type} model; it knows {', '.join(ACTIVATIONS)}"
        )
    for switch in (
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "use_bidirectional_attention",
    ):
        if getattr(text, switch, None):
            raise InputError(f"the sampler does not serve {text.model_type} models with {switch}")


def rotary_tables(config: PreTrainedConfig, length: int) -> dict[int | None, tuple[Tensor, Tensor]]:
    """Cosines and sines of all positions, fp32 `[length, head_dim / 2]`, by window size.

    Layers with a window may rotate with another base than the others (Gemma 3); layers with equal
    windows share their table.
    """
    text = config.get_text_config()
    rotary = ROTARY[text.model_type](text)
    positions_1T = torch.arange(length)[None]
    like = torch.zeros((), dtype=torch.float32)
    kinds = getattr(text, "layer_types", None) or [None] * text.num_hidden_layers
    tables = {}
    for window, kind in dict(zip(_windows(text), kinds, strict=True)).items():
        by_kind = (kind,) if text.model_type == "gemma3_text" else ()
        cos_1TD, sin_1TD = rotary(like, positions_1T, *by_kind)
        half = cos_1TD.shape[-1] // 2  # transformers repeats the angles for both halves of a head
        tables[window] = (cos_1TD[0, :, :half].contiguous(), sin_1TD[0, :, :half].contiguous())
    return tables


def _activation(text: PreTrainedConfig) -> Activation:
    return getattr(text, "hidden_activation", None) or text.hidden_act


def _rope_types(text: PreTrainedConfig) -> list[str]:
    rope = text.rope_parameters
    return [rope["rope_type"]] if "rope_type" in rope else [r["rope_type"] for r in rope.values()]


def _windows(text: PreTrainedConfig) -> tuple[int | None, ...]:
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        return (window,) * text.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
