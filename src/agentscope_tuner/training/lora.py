"""Low-rank adapters in place of full tuning: W x + (alpha / rank) B A x, with only A and B trained.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021 (arXiv:2106.09685).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor
from transformers import PreTrainedModel

from agentscope_tuner.errors import InputError

ADAPTER = "default"


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Size and place of the adapters. Raises InputError if the rank is not positive."""

    rank: int = 16
    alpha: int = 32
    target_modules: str | tuple[str, ...] = "all-linear"
    """Names of the layers that get one; `all-linear`: every linear layer but the head."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"LoRA's rank is {self.rank}; it must be at least 1")


def add_adapters(model: PreTrainedModel, settings: LoraSettings) -> PeftModel:
    """Put untrained adapters into the model itself; everything else is frozen."""
    targets = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    if isinstance(config.target_modules, set):
        # What is saved of a set has another order in each process.
        config.target_modules = sorted(config.target_modules)
    return adapted


def own_delta(module: Linear) -> Tensor:
    """What an adapter adds to its layer's weight."""
    delta: Tensor = module.get_delta_weight(ADAPTER)
    return delta


@torch.no_grad()
def merged_weights(
    model: PreTrainedModel,
    weight_of: Callable[[Tensor], Tensor] = Tensor.detach,
    delta_of: Callable[[Linear], Tensor] = own_delta,
) -> dict[str, Tensor]:
    """Weights under their plain names with the adapters added in, in the weights' own dtype.

    `weight_of` and `delta_of` say what is taken for a parameter, and for what an adapter adds.
    """
    adapted = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, Linear)
    }
    merged = {}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        weight = weight_of(parameter)
        if plain in adapted:
            # One at a time: all that adapters add together is as large as the model.
            weight = (weight.float() + delta_of(adapted[plain]).float()).to(weight.dtype)
        merged[plain] = weight
    return merged
