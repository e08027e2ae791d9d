"""The machine and the versions that figures hold for."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil
import torch
import transformers

import agentscope_tuner


def describe(packages: str) -> str:
    """Processor, memory, load, and versions as a Markdown list."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    memory = psutil.virtual_memory()
    return "\n".join(
        [
            f"- {processor()}, {os.cpu_count()} cores, {memory.total / 2**30:.0f} GiB of memory "
            f"({memory.available / 2**30:.0f} available), load {load} at the end",
            f"- agentscope-tuner {agentscope_tuner.__version__}, Python "
            f"{platform.python_version()}, torch {torch.__version__}, transformers "
            f"{transformers.__version__}",
            f"- peers: {packages}",
        ]
    )


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
