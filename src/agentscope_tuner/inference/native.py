"""The steps of `ops.py` as fused CPU kernels, compiled from `native.c` when first needed.

They need a C compiler and OpenMP; without them, or for shapes that the kernels do not take, the
steps run in plain torch, several times slower.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import math
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.architecture import Architecture
from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.cache import KVCache
from agentscope_tuner.inference.files import cache_directory
from agentscope_tuner.inference.ops import Rotary, TorchOps

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
ELEMENTS = {torch.bfloat16: (), torch.float32: ("-DELEMENT_F32",)}
SHORT_SPAN = 256
"""Up to this many tokens of context, a span is attended to token by token, without torch. As no
token's attention depends on the span then, a deterministic sampler attends to all spans so."""


class NativeOps(TorchOps):
    """`TorchOps` on a CPU, in bf16 or fp32."""

    def __init__(
        self, architecture: Architecture, rotary: Rotary, library: ctypes.CDLL, short_span: float
    ) -> None:
        super().__init__(architecture, rotary)
        self._library = library
        self._short_span = short_span

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """See `TorchOps.norm`."""
        return self._add_norm(x, 0, weight)

    def add_norm(self, x_TE: Tensor, y_TE: Tensor, weight_E: Tensor) -> Tensor:
        """See `TorchOps.add_norm`."""
        return self._add_norm(x_TE, y_TE.data_ptr(), weight_E)

    def gate(self, gate_up_TI: Tensor) -> Tensor:
        """See `TorchOps.gate`."""
        rows, size = len(gate_up_TI), gate_up_TI.shape[1] // 2
        out_TI = gate_up_TI.new_empty(rows, size)
        gelu = self.architecture.activation != "silu"
        self._library.gate(gate_up_TI.data_ptr(), out_TI.data_ptr(), rows, size, gelu)
        return out_TI

    def attention(
        self,
        qkv_TF: Tensor,
        q_norm: Tensor | None,
        k_norm: Tensor | None,
        layer: int,
        batch: Batch,
        cache: KVCache,
    ) -> Tensor:
        """See `TorchOps.attention`."""
        arch = self.architecture
        heads = (arch.heads, arch.kv_heads, arch.head_dim)
        window = arch.windows[layer]
        cos_LD, sin_LD = self.rotary[window]
        keys, values = cache.keys[layer].data_ptr(), cache.values[layer].data_ptr()
        pages = (batch.pages_SP.data_ptr(), batch.pages_SP.shape[1])
        self._library.rotate_and_store(
            qkv_TF.data_ptr(),
            0 if q_norm is None else q_norm.data_ptr(),
            0 if k_norm is None else k_norm.data_ptr(),
            ctypes.c_float(arch.norm_eps),
            cos_LD.data_ptr(),
            sin_LD.data_ptr(),
            batch.positions_T.data_ptr(),
            batch.span_T.data_ptr(),
            *pages,
            keys,
            values,
            len(qkv_TF),
            *heads,
        )
        out_TF = qkv_TF.new_empty(len(qkv_TF), arch.heads * arch.head_dim)

        def attend(rows: slice) -> None:
            self._library.attend(
                qkv_TF[rows].data_ptr(),
                keys,
                values,
                batch.positions_T[rows].data_ptr(),
                batch.span_T[rows].data_ptr(),
                *pages,
                out_TF[rows].data_ptr(),
                len(out_TF[rows]),
                *heads,
                window or 0,
                ctypes.c_float(arch.score_scale),
            )

        if batch.singles:
            attend(slice(batch.singles))
        for index, rows in batch.longer_spans():
            if batch.spans[index].end <= self._short_span:
                attend(rows)
            else:
                q_THD = qkv_TF[rows].unflatten(-1, (-1, arch.head_dim))[:, : arch.heads]
                out_THD = self.attend_span(q_THD, layer, index, rows, batch, cache)
                out_TF[rows] = out_THD.flatten(1)
        return out_TF

    def draw(
        self, logits_BV: Tensor, temperatures_B: Tensor, uniforms_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `TorchOps.draw`."""
        rows, vocab_size = logits_BV.shape
        tokens_B = torch.empty(rows, dtype=torch.int64)
        logprobs_B = torch.empty(rows)
        self._library.draw(
            logits_BV.data_ptr(),
            temperatures_B.data_ptr(),
            uniforms_B.data_ptr(),
            tokens_B.data_ptr(),
            logprobs_B.data_ptr(),
            rows,
            vocab_size,
        )
        return tokens_B, logprobs_B

    def _add_norm(self, x: Tensor, y: int, weight: Tensor) -> Tensor:
        size = len(weight)
        out = torch.empty_like(x)
        self._library.add_norm(
            x.data_ptr(),
            y,
            weight.data_ptr(),
            out.data_ptr(),
            x.numel() // size,
            size,
            ctypes.c_float(self.architecture.norm_eps),
        )
        return out


def choose_ops(
    architecture: Architecture,
    rotary: Rotary,
    dtype: torch.dtype,
    device: torch.device,
    *,
    deterministic: bool = False,
) -> TorchOps:
    """The kernels where they serve, plain torch elsewhere.

    Raises InputError if `deterministic` is asked for and the kernels, which compute every token by
    itself, do not serve.
    """
    fits = (
        device.type == "cpu"
        and dtype in ELEMENTS
        and architecture.head_dim % (64 // dtype.itemsize) == 0
        and architecture.head_dim <= 256
        and architecture.heads // architecture.kv_heads <= 16
    )
    library = compiled(ELEMENTS[dtype]) if fits else None
    if library is not None:
        short_span = math.inf if deterministic else SHORT_SPAN
        return NativeOps(architecture, rotary, library, short_span)
    if deterministic:
        raise InputError(
            "deterministic: true needs a CPU, a C compiler, and a model in bfloat16 or float32 "
            "whose heads have a multiple of 32 dimensions, at most 256 (float32: of 16); here are "
            f"{device.type}, {dtype} and {architecture.head_dim} dimensions."
        )
    return TorchOps(architecture, rotary)


@functools.cache
def compiled(defines: tuple[str, ...]) -> ctypes.CDLL | None:
    """The kernels for one element type, or None (and a warning) if they cannot be compiled here."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        log.warning("no C compiler (cc, gcc or $CC): sampling on this CPU will be slow")
        return None
    flags = (*FLAGS, *defines)
    if platform.machine() == "x86_64":
        flags += ("-mprefer-vector-width=512",)
    target = cache_directory() / "kernels" / f"native-{_digest(compiler, *flags)}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as building:
            # Two steps, so that no second OpenMP is linked: torch has loaded its own.
            steps = [
                [compiler, *flags, "-c", str(SOURCE), "-o", "native.o"],
                [compiler, "-shared", "native.o", "-lm", "-o", "native.so"],
            ]
            for step in steps:
                done = subprocess.run(step, cwd=building, capture_output=True, text=True)
                if done.returncode:
                    log.warning("no CPU kernels, sampling will be slow: %s", done.stderr.strip())
                    return None
            Path(building, "native.so").rename(target)
    return _declared(ctypes.CDLL(str(target)))


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """State the argument types: `p` pointer, `l` int64, `i` int, `f` float."""
    kinds = {
        "p": ctypes.c_void_p,
        "l": ctypes.c_int64,
        "i": ctypes.c_int,
        "f": ctypes.c_float,
    }
    signatures = {
        "add_norm": "ppppllf",
        "gate": "pplli",
        "rotate_and_store": "pppfppppplppllll",
        "attend": "pppppplplllllf",
        "draw": "pppppll",
    }
    for name, signature in signatures.items():
        function = getattr(library, name)
        function.argtypes = [kinds[kind] for kind in signature]
        function.restype = None
    return library


def _digest(*parts: str) -> str:
    """Names what was compiled: the source, the command and the processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return hashlib.sha256("\n".join([SOURCE.read_text(), flags, *parts]).encode()).hexdigest()[:12]
