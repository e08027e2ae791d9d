"""The forward pass of Llama, Mistral, Qwen2, Qwen3 and Gemma 3 over a paged cache.

One function for all of them: they differ in whether projections have biases, queries and keys are
normalised, norms follow the blocks as well as precede them, and layers see a window. What a model
has is read from its weights and its `Architecture`. Query, key and value projections are one
product, gate and up projections another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig

from agentscope_tuner.inference.architecture import Architecture, rotary_tables
from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.cache import KVCache
from agentscope_tuner.inference.linear import Linear, Product, pack_linear, suits_product
from agentscope_tuner.inference.native import choose_ops


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
        deterministic: bool = False,
    ) -> None:
        self.architecture = Architecture.from_config(config)
        self.dtype = dtype
        self.device = device
        rotary = {
            window: (cos_LD.to(device), sin_LD.to(device))
            for window, (cos_LD, sin_LD) in rotary_tables(config, max_length).items()
        }
        self.ops = choose_ops(self.architecture, rotary, dtype, device, deterministic=deterministic)
        self._deterministic = deterministic
        self._layers: list[Layer] = []

    @torch.inference_mode()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights under their Hugging Face names, in any dtype.

        Nothing of `weights` is kept, whatever their dtype and device: a learner that goes on
        changing them in place is not seen before the next load. Norms, an embedding that is not
        read out of the head's own layout and a head that has none are copied for that, which
        products of other layers are in any case.
        """
        self._layers.clear()  # so that there are never two of them
        arch = self.architecture
        embedding = next(name for name in weights if name.endswith("embed_tokens.weight"))
        prefix = embedding.removesuffix("embed_tokens.weight")

        def get(name: str, *, copy: bool = False) -> Tensor:
            return weights[name].detach().to(self.device, self.dtype, copy=copy)

        own = functools.partial(get, copy=True)

        def norm(name: str) -> Tensor | None:
            if name not in weights:
                return None
            return get(name) + 1 if arch.gemma else own(name)

        def pack(weight_OI: Tensor, bias_O: Tensor | None = None) -> Linear:
            return pack_linear(weight_OI, bias_O, deterministic=self._deterministic)

        def linear(layer: str, *names: str) -> Linear:
            full = [f"{layer}{name}" for name in names]
            weight_OI = torch.cat([get(f"{name}.weight") for name in full])
            has_bias = f"{full[0]}.bias" in weights
            bias_O = torch.cat([get(f"{name}.bias") for name in full]) if has_bias else None
            return pack(weight_OI, bias_O)

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

        final_norm = norm(f"{prefix}norm.weight")
        assert final_norm is not None
        self._final_norm = final_norm
        tied = "lm_head.weight" not in weights
        head = embedding if tied else "lm_head.weight"
        # The largest of all weights: not copied once more where the product does it.
        copied = suits_product(arch.hidden_size, self.dtype, self.device)
        head_VE = get(head) if copied else own(head)
        self._head = pack(head_VE)
        self._embed: Callable[[Tensor], Tensor]
        if tied and isinstance(self._head, Product):
            self._embed = self._head.weights_of
        else:
            embedding_VE = head_VE if tied else own(embedding)
            self._embed = functools.partial(F.embedding, weight=embedding_VE)
        del head_VE  # before the layers need memory, if nothing reads it
        self._layers.extend(layer(index) for index in range(arch.layers))

    def forget(self) -> None:
        """Give the weights' memory back; nothing can be computed until others are loaded."""
        self._layers.clear()
        del self._embed, self._final_norm, self._head

    @torch.inference_mode()
    def forward(self, batch: Batch, cache: KVCache) -> Tensor:
        """Compute a batch, write its keys and values, return `[logit rows, vocabulary]`."""
        ops = self.ops
        x_TE = self._embed(batch.tokens_T)
        if ops.architecture.gemma:
            x_TE *= torch.tensor(ops.architecture.hidden_size**0.5, dtype=self.dtype)
        h_TE = ops.norm(x_TE, self._layers[0].attention_norm)
        next_norms = [layer.attention_norm for layer in self._layers[1:]] + [self._final_norm]
        for index, (layer, next_norm) in enumerate(zip(self._layers, next_norms, strict=True)):
            qkv_TF = layer.qkv(h_TE)
            h_TE = layer.out(ops.attention(qkv_TF, layer.q_norm, layer.k_norm, index, batch, cache))
            if layer.attention_post_norm is not None:
                h_TE = ops.norm(h_TE, layer.attention_post_norm)
            h_TE = ops.add_norm(x_TE, h_TE, layer.mlp_norm)
            h_TE = layer.down(ops.gate(layer.gate_up(h_TE)))
            if layer.mlp_post_norm is not None:
                h_TE = ops.norm(h_TE, layer.mlp_post_norm)
            h_TE = ops.add_norm(x_TE, h_TE, next_norm)
        return self._head(h_TE[batch.logit_rows])
