"""The forward pass of Llama, Mistral, Qwen2, Qwen3 and Gemma 3 over a paged cache.

One function for all of them: they differ in whether projections have biases, queries and keys are
normalised, norms follow the blocks as well as precede them, and layers see a window. What a model
has is read from its weights and its `Architecture`. Query, key and value projections are one
product, gate and up projections another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig

from agentscope_tuner.inference.architecture import Architecture, rotary_tables
from agentscope_tuner.inference.attention import KVCache, attend
from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.linear import Linear, pack_linear


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one layer; norms that a model does not have are None."""

    attention_norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Linear
    attention_post_norm: Tensor | None
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear
    mlp_post_norm: Tensor | None


class Decoder:
    """A decoder with weights of its own layout, loaded from Hugging Face's names."""

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        dtype: torch.dtype,
        device: torch.device,
        max_length: int,
    ) -> None:
        self.architecture = Architecture.from_config(config)
        self.dtype = dtype
        self.device = device
        self._rotary = {
            window: (cos_TD.to(device), sin_TD.to(device))
            for window, (cos_TD, sin_TD) in rotary_tables(config, max_length).items()
        }

    @torch.inference_mode()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights under their Hugging Face names, in any dtype; they are not kept."""
        arch = self.architecture
        embedding = next(name for name in weights if name.endswith("embed_tokens.weight"))
        prefix = embedding.removesuffix("embed_tokens.weight")

        def get(name: str) -> Tensor:
            return weights[name].detach().to(self.device, self.dtype)

        def norm(name: str) -> Tensor | None:
            if name not in weights:
                return None
            return get(name) + 1 if arch.gemma else get(name)

        def linear(layer: str, *names: str) -> Linear:
            full = [f"{layer}{name}" for name in names]
            weight_OI = torch.cat([get(f"{name}.weight") for name in full])
            has_bias = f"{full[0]}.bias" in weights
            bias_O = torch.cat([get(f"{name}.bias") for name in full]) if has_bias else None
            return pack_linear(weight_OI, bias_O)

        def layer(index: int) -> Layer:
            at = f"{prefix}layers.{index}."
            after_attention = norm(f"{at}post_attention_layernorm.weight")
            before_mlp = (
                norm(f"{at}pre_feedforward_layernorm.weight") if arch.gemma else after_attention
            )
            attention_norm = norm(f"{at}input_layernorm.weight")
            assert attention_norm is not None
            assert before_mlp is not None
            return Layer(
                attention_norm=attention_norm,
                qkv=linear(f"{at}self_attn.", "q_proj", "k_proj", "v_proj"),
                q_norm=norm(f"{at}self_attn.q_norm.weight"),
                k_norm=norm(f"{at}self_attn.k_norm.weight"),
                out=linear(f"{at}self_attn.", "o_proj"),
                attention_post_norm=after_attention if arch.gemma else None,
                mlp_norm=before_mlp,
                gate_up=linear(f"{at}mlp.", "gate_proj", "up_proj"),
                down=linear(f"{at}mlp.", "down_proj"),
                mlp_post_norm=norm(f"{at}post_feedforward_layernorm.weight"),
            )

        self._embedding_VE = get(embedding)
        final_norm = norm(f"{prefix}norm.weight")
        assert final_norm is not None
        self._final_norm = final_norm
        self._layers = [layer(index) for index in range(arch.layers)]
        head = get("lm_head.weight") if "lm_head.weight" in weights else self._embedding_VE
        self._head = pack_linear(head)

    @torch.inference_mode()
    def forward(self, batch: Batch, cache: KVCache) -> Tensor:
        """Compute a batch, write its keys and values, return `[logit rows, vocabulary]`."""
        arch = self.architecture
        x_TE = F.embedding(batch.tokens_T, self._embedding_VE)
        if arch.gemma:
            x_TE = x_TE * torch.tensor(arch.hidden_size**0.5, dtype=self.dtype)
        for index, layer in enumerate(self._layers):
            h_TE = self._norm(x_TE, layer.attention_norm)
            h_TE = layer.out(self._attention(layer, index, h_TE, batch, cache))
            if layer.attention_post_norm is not None:
                h_TE = self._norm(h_TE, layer.attention_post_norm)
            x_TE = x_TE + h_TE
            gate_TI, up_TI = layer.gate_up(self._norm(x_TE, layer.mlp_norm)).chunk(2, dim=-1)
            h_TE = layer.down(self._activation(gate_TI) * up_TI)
            if layer.mlp_post_norm is not None:
                h_TE = self._norm(h_TE, layer.mlp_post_norm)
            x_TE = x_TE + h_TE
        return self._head(self._norm(x_TE[batch.logit_rows], self._final_norm))

    def _attention(
        self, layer: Layer, index: int, h_TE: Tensor, batch: Batch, cache: KVCache
    ) -> Tensor:
        arch = self.architecture
        window = arch.windows[index]
        qkv_THD = layer.qkv(h_TE).unflatten(-1, (-1, arch.head_dim))
        q_THD, k_TKD, v_TKD = qkv_THD.split([arch.heads, arch.kv_heads, arch.kv_heads], dim=1)
        if layer.q_norm is not None and layer.k_norm is not None:
            q_THD, k_TKD = self._norm(q_THD, layer.q_norm), self._norm(k_TKD, layer.k_norm)
        cos_LD, sin_LD = self._rotary[window]
        cos_T1D = cos_LD[batch.positions_T][:, None]
        sin_T1D = sin_LD[batch.positions_T][:, None]
        q_THD, k_TKD = rotate(q_THD, cos_T1D, sin_T1D), rotate(k_TKD, cos_T1D, sin_T1D)
        cache.write(index, batch, k_TKD, v_TKD)
        return attend(q_THD, cache, index, batch, window, arch.score_scale).flatten(1)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.architecture.norm_eps)

    def _activation(self, gate_TI: Tensor) -> Tensor:
        if self.architecture.activation == "silu":
            return F.silu(gate_TI)
        return F.gelu(gate_TI, approximate="tanh")


def rotate(x_THD: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021), halves of a head being its two coordinates."""
    a_THD, b_THD = x_THD.float().chunk(2, dim=-1)
    turned_THD = torch.cat(
        [a_THD * cos_T1D - b_THD * sin_T1D, b_THD * cos_T1D + a_THD * sin_T1D], dim=-1
    )
    return turned_THD.to(x_THD.dtype)
