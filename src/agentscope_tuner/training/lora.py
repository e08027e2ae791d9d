"""Low-rank adapters in place of full tuning: W x + (alpha / rank) B A x, with only A and B trained.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021 (arXiv:2106.09685).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from agentscope_tuner.errors import InputError

if TYPE_CHECKING:  # a third of a second, of no use to a run without adapters
    from peft import PeftModel
    from peft.tuners.lora import Linear

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
    """Put untrained adapters into the model itself; everything else is frozen.

    Raises InputError for targets that are no linear layers between embedding and head.
    """
    from peft import LoraConfig, get_peft_model

    targets = settings.target_modules
    _check_targets(model, targets)
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
    add_in_place(model)
    return adapted


def _check_targets(model: PreTrainedModel, targets: str | tuple[str, ...]) -> None:
    """Adapters elsewhere would be trained and not sampled from, or neither, and a name that fits
    nothing beside one that does would be passed over."""
    if targets == "all-linear":
        return
    head, modules = model.get_output_embeddings(), dict(model.named_modules())
    linear = {n for n, m in modules.items() if isinstance(m, nn.Linear) and m is not head}
    # An empty list is a name that fits nothing.
    for target, fits in (_fitting(targets, modules) or {"": set()}).items():
        if fits and fits <= linear:
            continue
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        what = "not only linear layers before the head" if fits else "no layer"
        raise InputError(
            f"model.lora.target_modules has {target!r}, which is {what} of this model: adapters go "
            f"to all-linear or to some of {known}."
        )


def _fitting(targets: str | tuple[str, ...], names: Iterable[str]) -> dict[str, set[str]]:
    """The modules that peft takes for each target: a regular expression, or ends of names."""
    if not isinstance(targets, str):
        return {t: {name for name in names if f".{name}".endswith(f".{t}")} for t in targets}
    try:
        pattern = re.compile(targets)
    except re.error as error:
        raise InputError(
            f"model.lora.target_modules is {targets!r}, which is no regular expression: {error}"
        ) from None
    return {targets: {name for name in names if pattern.fullmatch(name)}}


def add_in_place(model: nn.Module) -> None:
    """Let adapted layers add what their adapter gives where the layer's own result is."""
    for module in model.modules():
        if _is_adapted(module):
            layer: Any = module
            layer.forward = MethodType(_adapted_linear, layer)


def _is_adapted(module: nn.Module) -> TypeGuard[Linear]:
    from peft.tuners.lora import Linear

    return isinstance(module, Linear)


def _adapted_linear(self: Linear, x: Tensor) -> Tensor:
    """What peft's layer computes, but for rounding."""
    base = self.get_base_layer()
    if self.disable_adapters:
        plain: Tensor = base(x)
        return plain
    down, up = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
    out: Tensor = _Adapted.apply(x, base.weight, base.bias, down, up, self.scaling[ADAPTER])
    return out


class _Adapted(torch.autograd.Function):
    """x W.T + scale (x A.T) B.T: the second term is added where the first one is.

    Built of operations, each adapter makes three more tensors of the layer's size, which takes time
    and leaves holes in the heap. Shapes: rank R, layers of I inputs and O outputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        down_RI: Tensor,
        up_OR: Tensor,
        scale: float,
    ) -> Tensor:
        low = F.linear(x, down_RI) * scale
        out = F.linear(x, weight_OI, bias_O)
        out.view(-1, len(weight_OI)).addmm_(low.flatten(0, -2), up_OR.T)
        ctx.save_for_backward(x, low, weight_OI, down_RI, up_OR)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, low, weight_OI, down_RI, up_OR = ctx.saved_tensors
        grad_TO, x_TI, low_TR = grad.flatten(0, -2), x.flatten(0, -2), low.flatten(0, -2)
        grad_low_TR = (grad_TO @ up_OR) * ctx.scale
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_TO @ weight_OI).addmm_(grad_low_TR, down_RI).view_as(x)
        return grad_x, None, None, grad_low_TR.T @ x_TI, grad_TO.T @ low_TR, None


def own_delta(module: Linear) -> Tensor:
    """What an adapter adds to its layer's weight."""
    delta: Tensor = module.get_delta_weight(ADAPTER)
    return delta


class MergedWeights(Mapping[str, Tensor]):
    """Weights under their plain names with the adapters added in, in the weights' own dtype.

    Each is merged when it is asked for, from what it is made of then: all of them together are as
    large as the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        weight_of: Callable[[Tensor], Tensor] = Tensor.detach,
        delta_of: Callable[[Linear], Tensor] = own_delta,
    ) -> None:
        """`weight_of` and `delta_of` say what is taken for a parameter, and for what an adapter
        adds."""
        self._weights = {
            name.replace(".base_layer.", "."): parameter
            for name, parameter in model.named_parameters()
            if "lora_" not in name
        }
        self._adapted = {
            f"{name}.weight": module
            for name, module in model.named_modules()
            if _is_adapted(module)
        }
        self._weight_of = weight_of
        self._delta_of = delta_of

    @torch.no_grad()
    def __getitem__(self, name: str) -> Tensor:
        weight = self._weight_of(self._weights[name])
        if name not in self._adapted:
            return weight
        return (weight.float() + self._delta_of(self._adapted[name]).float()).to(weight.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
