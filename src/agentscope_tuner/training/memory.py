"""What a training step needs of memory, and how a CPU process holds on to it."""

from __future__ import annotations

import ctypes
import sys

import psutil
import torch
from transformers import PreTrainedConfig

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # from glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the allocator reuse freed memory instead of giving it back; does nothing without glibc.

    A step frees and asks again for gigabytes of activations. By default each large one is mapped
    anew and zeroed by the kernel page by page, which costs up to a fifth of a step's processor
    time. The process keeps its peak size instead.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**27)  # the heaps of other threads than the main one stay, too


def activation_bytes(config: PreTrainedConfig, tokens: int, dtype: torch.dtype) -> int:
    """An upper estimate of what a decoder's layers keep for the backward pass.

    Per token and layer, in elements: the MLP's four intermediate rows, and what norms, residuals,
    projections and rotary embeddings keep (the factors are what autograd was seen to save in the
    most demanding of the supported decoders, Gemma 3).
    """
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = (heads + config.num_key_value_heads) * head_dim
    elements = 18 * config.hidden_size + 4 * config.intermediate_size + 6 * attention
    return elements * dtype.itemsize * tokens * config.num_hidden_layers


def available_bytes(device: torch.device) -> int:
    """Memory that could be used now."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return psutil.virtual_memory().available
