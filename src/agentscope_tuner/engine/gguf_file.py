"""A model as one GGUF file, as llama.cpp and Ollama load it.

Written with the `gguf` package alone; nothing is fetched or compiled. Rotary weights of Llama are
permuted there: its file format pairs neighbouring dimensions, and Hugging Face's pairs halves.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.engine.gguf_tokenizer import write_tokenizer
from agentscope_tuner.errors import InputError

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
"""By the model type of Hugging Face's configuration."""
FORMATS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_BLOCK = 32
"""Numbers of a row that q8_0 takes together."""


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: str,
    name: str,
) -> None:
    """Write the model, its matrices as `weights` says (`f32`, `f16`, `bf16`, `q8_0`).

    Vectors stay in 32 bits, as llama.cpp wants them. Raises InputError for an architecture, a
    scaled rotary embedding or a tokenizer that is not written here.
    """
    config = model.config
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise InputError(
            f"A {config.model_type} model cannot be written as GGUF here, only "
            f"{', '.join(ARCHITECTURES)}: export it as a Hugging Face directory (--format hf)."
        )
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(
            f"A model with a scaled rotary embedding ({rope['rope_type']}) cannot be written as "
            "GGUF here: export it as a Hugging Face directory (--format hf)."
        )
    kind, file_type = FORMATS[weights]
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        _write_facts(writer, model, name, file_type)
        write_tokenizer(writer, tokenizer, config.vocab_size)
        names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
        for key, tensor in model.state_dict().items():
            if key == "lm_head.weight" and config.tie_word_embeddings:
                continue
            called = names.get_name(key, try_suffixes=(".weight", ".bias"))
            if called is None:
                raise InputError(f"The weight {key} has no name in GGUF.")
            values = _arranged(model, key, tensor)
            fits = values.ndim == 2 and (weights != "q8_0" or values.shape[-1] % _BLOCK == 0)
            own = kind if fits else GGMLQuantizationType.F32
            writer.add_tensor(called, gguf.quantize(values, own), raw_dtype=own)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _write_facts(
    writer: GGUFWriter, model: PreTrainedModel, name: str, file_type: LlamaFileType
) -> None:
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _arranged(model: PreTrainedModel, key: str, tensor: torch.Tensor) -> np.ndarray:
    """The weight in 32 bits, its rotary dimensions in the file's order."""
    values = tensor.detach().float().numpy()
    if model.config.model_type != "llama":
        return values
    heads = {
        "q_proj": model.config.num_attention_heads,
        "k_proj": model.config.num_key_value_heads,
    }.get(key.split(".")[-2])
    if heads is None:
        return values
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
