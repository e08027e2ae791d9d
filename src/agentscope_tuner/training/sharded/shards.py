"""A model in shards: FSDP2, each decoder layer and then the whole causal LM as the root.

The root is the whole model and not its decoder, so that a head that is tied to the embedding stays
tied, and so that the head's weight is whole between a forward pass and its backward pass: the head
is computed in chunks in between.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
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

STATES = "predecessor_states"
"""The model's registered forward method: see `forward.predecessor_states`."""


def shard(model: PreTrainedModel, mesh: DeviceMesh, compute_dtype: torch.dtype) -> None:
    """Spread the model, in place, over the ranks of a mesh of one dimension.

    Its weights stay float32; layers compute in `compute_dtype` and gradients add up in float32.
    """
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32)
    decoder: Any = model.get_decoder()
    layer: nn.Module
    for layer in decoder.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    setattr(model, STATES, MethodType(forward.predecessor_states, model))
    register_fsdp_forward_method(model, STATES)


def whole_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """All weights, whole, float32, on every rank; a collective. The first of tied names alone."""
    return {name: whole(parameter.detach()) for name, parameter in model.named_parameters()}


def whole(weight: Tensor) -> Tensor:
    """A weight put together from all ranks."""
    full: Tensor = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return full
