"""A model in shards: FSDP2, each decoder layer and then the whole causal LM as the root.

The root is the whole model and not its decoder, so that a head that is tied to the embedding stays
tied, and so that the head's weight is whole between a forward pass and its backward pass: the head
is computed in chunks in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from agentscope_tuner.training import forward
from agentscope_tuner.training.lora import ADAPTER, MergedWeights

STATES = "predecessor_states"
"""The model's registered forward method: see `forward.predecessor_states`."""


def shard(
    model: PreTrainedModel,
    mesh: DeviceMesh,
    compute_dtype: torch.dtype,
    precise: Sequence[nn.Module] = (),
) -> None:
    """Spread the model, in place, over the ranks of a mesh of one dimension.

    Its weights stay float32; layers compute in `compute_dtype`, but those of `precise` in float32,
    and gradients add up in float32.
    """
    for module in precise:
        fully_shard(module, mesh=mesh)
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32)
    decoder: Any = model.get_decoder()
    layer: nn.Module
    for layer in decoder.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    setattr(model, STATES, MethodType(forward.predecessor_states, model))
    register_fsdp_forward_method(model, STATES)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """What of a model is tuned, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def whole_weights(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """All weights, whole, on every rank, with adapters added in; a collective.

    They are rounded to `dtype`, before adapters are added to them and after. The first of tied
    names alone.
    """
    return dict(MergedWeights(model, lambda weight: whole(weight.detach()).to(dtype), _delta))


def _delta(module: LoraLinear) -> Tensor:
    """What an adapter adds to its layer's weight, float32."""
    up, down = (
        whole(cast(nn.Linear, layers[ADAPTER]).weight.detach())
        for layers in (module.lora_B, module.lora_A)
    )
    return up @ down * module.scaling[ADAPTER]


def whole(weight: Tensor) -> Tensor:
    """A weight put together from all ranks."""
    full: Tensor = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return full
