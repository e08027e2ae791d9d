"""The machine and the versions that figures hold for."""

from __future__ import annotations

import os
import platform
import string
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
import transformers

import agentscope_tuner


def describe() -> str:
    """Processor, memory and versions."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory; agentscope-tuner "
        f"{agentscope_tuner.__version__}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}"
    )


def lettered(machines: Iterable[str]) -> dict[str, str]:
    """A letter for each machine, by which a table names it."""
    return dict(zip(dict.fromkeys(machines), string.ascii_uppercase, strict=False))


def processor() -> str:
    """The processor's name, and what of bf16 it computes by itself."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return name
    lines = (line.partition(":") for line in information.read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    flags = fields.get("flags", "").split()
    bf16 = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    return f"{fields.get('model name', name)} ({', '.join(bf16) or 'no bf16 instructions'})"
