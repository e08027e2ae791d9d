"""The small steps between matrix products, in plain torch: the reference, and what runs on CUDA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agentscope_tuner.inference.architecture import Architecture
from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.cache import KVCache

Rotary = dict[int | None, tuple[Tensor, Tensor]]
"""By window: cosines and sines, fp32 `[positions, head_dim / 2]`."""


class TorchOps:
    """Norms, activation, attention and the draw for one architecture."""

    def __init__(self, architecture: Architecture, rotary: Rotary) -> None:
        self.architecture = architecture
        self.rotary = rotary

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """Root-mean-square norm over the last dimension (Zhang and Sennrich 2019)."""
        return F.rms_norm(x, weight.shape, weight, self.architecture.norm_eps)

    def add_norm(self, x_TE: Tensor, y_TE: Tensor, weight_E: Tensor) -> Tensor:
        """Add `y` to `x` in place and return the norm of the sum."""
        return self.norm(x_TE.add_(y_TE), weight_E)

    def gate(self, gate_up_TI: Tensor) -> Tensor:
        """`activation(gate) * up`, which are the halves of a row."""
        gate_TI, up_TI = gate_up_TI.chunk(2, dim=-1)
        if self.architecture.activation == "silu":
            return F.silu(gate_TI) * up_TI
        return F.gelu(gate_TI, approximate="tanh") * up_TI

    def attention(
        self,
        qkv_TF: Tensor,
        q_norm: Tensor | None,
        k_norm: Tensor | None,
        layer: int,
        batch: Batch,
        cache: KVCache,
    ) -> Tensor:
        """Rotate, store keys and values, attend; `[T, heads * head_dim]`."""
        arch = self.architecture
        qkv_THD = qkv_TF.unflatten(-1, (-1, arch.head_dim))
        q_THD, k_TKD, v_TKD = qkv_THD.split([arch.heads, arch.kv_heads, arch.kv_heads], dim=1)
        if q_norm is not None and k_norm is not None:
            q_THD, k_TKD = self.norm(q_THD, q_norm), self.norm(k_TKD, k_norm)
        cos_LD, sin_LD = self.rotary[arch.windows[layer]]
        cos_T1D = cos_LD[batch.positions_T][:, None]
        sin_T1D = sin_LD[batch.positions_T][:, None]
        cache.write(layer, batch, rotate(k_TKD, cos_T1D, sin_T1D), v_TKD)
        return self._attend(rotate(q_THD, cos_T1D, sin_T1D), layer, batch, cache).flatten(1)

    def draw(
        self, logits_BV: Tensor, temperatures_B: Tensor, uniforms_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw from the whole vocabulary: token ids and log-probabilities, both `[B]`.

        `temperatures_B` (fp32) are positive, `uniforms_B` (fp64) in [0, 1).
        """
        temperatures_B1 = temperatures_B.to(logits_BV.device)[:, None]
        logps_BV = (logits_BV.float() / temperatures_B1).log_softmax(-1)
        tokens_B = search(logps_BV.exp(), uniforms_B.to(logits_BV.device))
        return tokens_B, logps_BV.gather(1, tokens_B[:, None])[:, 0]

    def _attend(self, q_THD: Tensor, layer: int, batch: Batch, cache: KVCache) -> Tensor:
        """The spans of one token are one padded product, each longer span is one of its own."""
        arch = self.architecture
        out_THD = torch.empty_like(q_THD)
        if batch.singles:
            rows = slice(batch.singles)
            k_BKLD, v_BKLD = cache.gather(layer, batch.pages_SP[rows])
            seen_BL = visible(batch.positions_T[rows], k_BKLD.shape[2], arch.windows[layer])
            out_BHLD = F.scaled_dot_product_attention(
                q_THD[rows, :, None],
                k_BKLD,
                v_BKLD,
                seen_BL[:, None, None],
                scale=arch.score_scale,
                enable_gqa=True,
            )
            out_THD[rows] = out_BHLD[:, :, 0]
        for index, rows in batch.longer_spans():
            out_THD[rows] = self.attend_span(q_THD[rows], layer, index, rows, batch, cache)
        return out_THD

    def attend_span(
        self, q_THD: Tensor, layer: int, index: int, rows: slice, batch: Batch, cache: KVCache
    ) -> Tensor:
        """Attention of the tokens of one span, `[T, heads, head_dim]`."""
        arch = self.architecture
        pages = len(batch.spans[index].pages)
        k_1KLD, v_1KLD = cache.gather(layer, batch.pages_SP[index : index + 1, :pages])
        seen_TL = visible(batch.positions_T[rows], k_1KLD.shape[2], arch.windows[layer])
        out_1HTD = F.scaled_dot_product_attention(
            q_THD.transpose(0, 1)[None],
            k_1KLD,
            v_1KLD,
            seen_TL,
            scale=arch.score_scale,
            enable_gqa=True,
        )
        return out_1HTD[0].transpose(0, 1)


def rotate(x_THD: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021), halves of a head being its two coordinates."""
    a_THD, b_THD = x_THD.float().chunk(2, dim=-1)
    turned_THD = torch.cat(
        [a_THD * cos_T1D - b_THD * sin_T1D, b_THD * cos_T1D + a_THD * sin_T1D], dim=-1
    )
    return turned_THD.to(x_THD.dtype)


def visible(positions_T: Tensor, length: int, window: int | None) -> Tensor:
    """Which of `length` positions each token sees, bool `[T, length]`."""
    back_TL = positions_T[:, None] - torch.arange(length, device=positions_T.device)
    seen_TL = back_TL >= 0
    return seen_TL if window is None else seen_TL & (back_TL < window)


def search(p_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """Where the cumulative sum of each row first exceeds its share of the row's total."""
    cumulative_BV = p_BV.cumsum(-1, dtype=torch.float64)
    wanted_B1 = uniforms_B[:, None] * cumulative_BV[:, -1:]
    found_B1 = torch.searchsorted(cumulative_BV, wanted_B1, right=True)
    return found_B1[:, 0].clamp(max=p_BV.shape[1] - 1)  # only NaN is beyond
