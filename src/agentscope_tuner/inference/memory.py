"""Will it fit? Asked before anything big is loaded."""

from __future__ import annotations

import psutil
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from agentscope_tuner.errors import InputError

SAMPLING_BYTES = 2
"""A parameter to sample from, in bf16."""
TRAINING_BYTES = 4 + 4 + 8 + 2
"""A parameter to train: fp32 weight, gradient and Adam's two moments, and a bf16 copy."""
WORKING_BYTES = 1e9
"""Activations, logits and the key-value cache of a small run."""


def check_memory(config: PreTrainedConfig, *, training: bool, device: torch.device | str) -> None:
    """Raise InputError if a device has too little free memory to sample from, or to train, a model.

    An estimate from the number of parameters; long contexts and big batches need more.
    """
    device = torch.device(device)
    parameters = count_parameters(config)
    needed = memory_needed(parameters, training=training)
    free = free_memory(device)
    if needed > free:
        verb = "Training" if training else "Sampling from"
        raise InputError(
            f"{verb} this {config.model_type} model of {parameters / 1e9:.2f}B parameters needs "
            f"about {needed / 1e9:.1f} GB of memory, but {device} has {free / 1e9:.1f} GB free; "
            "take a smaller model or a bigger machine."
        )


def memory_needed(parameters: int, *, training: bool) -> float:
    """Bytes that it takes to sample from, or to train, a model of this many parameters."""
    return parameters * (SAMPLING_BYTES + TRAINING_BYTES * training) + WORKING_BYTES


def count_parameters(config: PreTrainedConfig) -> int:
    """How many parameters a model has, shared ones counted once; no memory is taken for them."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def free_memory(device: torch.device) -> int:
    """Bytes that could still be allocated on a device."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return psutil.virtual_memory().available
