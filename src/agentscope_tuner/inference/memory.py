"""Will it fit? Asked before anything big is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from agentscope_tuner.errors import InputError

WORKING_BYTES = 1e9
"""Activations, logits and the key-value cache of a small run."""

Needs = Mapping[str, float]
"""Bytes by what they are for."""


def refuse_too_little_memory(what: str, needs: Needs, device: torch.device) -> None:
    """Raise InputError if a device has less free memory than `needs` and some to work in.

    An estimate from the number of parameters; long contexts and big batches need more. `what`
    begins the sentence: "Tuning this llama model of 1.10B parameters".
    """
    free = free_memory(device)
    if total(needs) > free:
        raise InputError(
            f"{what} needs about {as_text(needs)}, but {device} has {free / 1e9:.1f} GB free; "
            "take a smaller model, adapters in place of full tuning (model.lora.rank), or a bigger "
            "machine."
        )


def as_text(needs: Needs) -> str:
    """`22.3 GB of memory (weights 6.6, gradients 4.4, working 1.0)`."""
    parts = {**needs, "working": WORKING_BYTES}
    shown = ", ".join(f"{name} {amount / 1e9:.1f}" for name, amount in parts.items())
    return f"{total(needs) / 1e9:.1f} GB of memory ({shown})"


def total(needs: Needs) -> float:
    """Bytes in all, with those to work in."""
    return sum(needs.values()) + WORKING_BYTES


def model_name(config: PreTrainedConfig) -> str:
    """How messages speak of a model: by its type and size."""
    return f"this {config.model_type} model of {count_parameters(config) / 1e9:.2f}B parameters"


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
