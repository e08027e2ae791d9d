"""The CPU kernels in `kernels/`, which are C: compiled when they are first needed, and loaded."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from agentscope_tuner.cache import KERNELS

log = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("kernels")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
ELEMENTS = {torch.bfloat16: (), torch.float32: ("-DELEMENT_F32",)}
KINDS = {"p": ctypes.c_void_p, "l": ctypes.c_int64, "i": ctypes.c_int, "f": ctypes.c_float}
SIGNATURES = {
    "add_norm": "ppppllf",
    "gate": "pplli",
    "rotate_and_store": "pppfppppplppllll",
    "attend": "pppppplplpppllllf",
    "draw": "pppppll",
    "product": "ppppplll",
    "tree_attend": "pppplpppppplllllllf",
    "tree_attend_backward": "ppppppplpppppppllllllllf",
}
"""Argument types by function; see `KINDS`."""


@functools.cache
def compiled(dtype: torch.dtype, without: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """The kernels for bf16 or fp32, or None (and a warning) if they cannot be compiled here.

    Args:
        dtype: Of weights, activations, keys and values.
        without: Flags that take instructions away, to see the kernels of a lesser processor.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        log.warning("no C compiler (cc, gcc or $CC): sampling and learning will be slow")
        return None
    flags = (*FLAGS, *ELEMENTS[dtype])
    if platform.machine() == "x86_64":
        flags += ("-mprefer-vector-width=512",)
    if _bf16_dot_at_full_rate() and not without:
        flags += ("-DFAST_BF16_DOT",)
    flags += without
    target = KERNELS.place(_digest(compiler, *flags))
    if not target.exists() and not _compile(compiler, flags, target):
        return None
    library = ctypes.CDLL(str(target))
    for name, signature in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = [KINDS[kind] for kind in signature]
        function.restype = None
    return library


def product_outruns_libraries(dtype: torch.dtype) -> bool:
    """Whether `product` is faster than torch's and oneDNN's products of few rows on this processor.

    It is in fp32, and in bf16 where that has no matrix unit and no instruction at the rate of the
    fp32 ones.
    """
    bf16_is_faster = "amx_bf16" in cpu_flags() or _bf16_dot_at_full_rate()
    return multiplies_at_full_rate() and (dtype == torch.float32 or not bf16_is_faster)


def multiplies_at_full_rate() -> bool:
    """Whether what compilers make of our products has been seen to keep up with libraries on
    processors like this one: not measured without AVX2."""
    return {"avx2", "fma"} <= cpu_flags()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """What Linux says that the processor has."""
    lines = (line.partition(":") for line in _cpu_lines())
    return frozenset(next((v.split() for k, _, v in lines if k.strip() in FLAG_FIELDS), []))


FLAG_FIELDS = ("flags", "Features")  # x86, ARM


def _bf16_dot_at_full_rate() -> bool:
    return "avx512_bf16" in cpu_flags() and any("AuthenticAMD" in line for line in _cpu_lines())


def _cpu_lines() -> list[str]:
    cpu = Path("/proc/cpuinfo")
    return cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]


def _compile(compiler: str, flags: tuple[str, ...], target: Path) -> bool:
    with KERNELS.workshop() as building:
        sources = sorted(str(path) for path in SOURCES.glob("*.c"))
        objects = [f"{Path(source).stem}.o" for source in sources]
        # Two steps, so that no second OpenMP is linked: torch has loaded its own.
        for step in (
            [compiler, *flags, "-c", *sources],
            [compiler, "-shared", *objects, "-lm", "-o", "native.so"],
        ):
            done = subprocess.run(step, cwd=building, capture_output=True, text=True)
            if done.returncode:
                reason = done.stderr.strip()
                log.warning("no CPU kernels, sampling and learning will be slow: %s", reason)
                return False
        (building / "native.so").rename(target)
    return True


def _digest(*parts: str) -> str:
    """Names what was compiled: the sources, the command and the processor."""
    sources = [path.read_text() for path in sorted(SOURCES.iterdir())]
    return hashlib.sha256("\n".join([*sources, *sorted(cpu_flags()), *parts]).encode()).hexdigest()
