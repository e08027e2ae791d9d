"""The steps of `ops.py` as fused CPU kernels (`kernels.py`).

They need a C compiler and OpenMP; without them, or for shapes that the kernels do not take, the
steps run in plain torch, several times slower. What the kernels compute for a token depends, to the
last bit, on nothing that is computed beside it.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.architecture import Architecture
from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.cache import KVCache
from agentscope_tuner.inference.kernels import ELEMENTS, compiled
from agentscope_tuner.inference.ops import Rotary, TorchOps
from agentscope_tuner.inference.tiles import Tiles


class NativeOps(TorchOps):
    """`TorchOps` on a CPU, in bf16 or fp32."""

    def __init__(self, architecture: Architecture, rotary: Rotary, library: ctypes.CDLL) -> None:
        super().__init__(architecture, rotary)
        self._library = library
        self._tiled: tuple[Batch, Tiles] | None = None

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
        tiles = self._tiles(batch)
        for level_U5 in tiles.levels:
            self._library.attend(
                qkv_TF.data_ptr(),
                keys,
                values,
                batch.positions_T.data_ptr(),
                batch.span_T.data_ptr(),
                *pages,
                level_U5.data_ptr(),
                len(level_U5),
                tiles.order.data_ptr(),
                tiles.state.data_ptr(),
                out_TF.data_ptr(),
                *heads,
                window or 0,
                ctypes.c_float(arch.score_scale),
            )
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

    def _tiles(self, batch: Batch) -> Tiles:
        """The same for all layers."""
        if self._tiled is None or self._tiled[0] is not batch:
            arch = self.architecture
            tiles = Tiles.build(batch, arch.heads, arch.kv_heads, arch.head_dim)
            self._tiled = batch, tiles
        return self._tiled[1]

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
    library = compiled(dtype) if fits else None
    if library is not None:
        return NativeOps(architecture, rotary, library)
    if deterministic:
        raise InputError(
            "deterministic: true needs a CPU, a C compiler, and a model in bfloat16 or float32 "
            "whose heads have a multiple of 32 dimensions, at most 256 (float32: of 16); here are "
            f"{device.type}, {dtype} and {architecture.head_dim} dimensions."
        )
    return TorchOps(architecture, rotary)
