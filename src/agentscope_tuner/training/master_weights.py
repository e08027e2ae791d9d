"""Full-precision weights behind a model that computes in lower precision.

The model holds a copy in the compute dtype; gradients of every backward pass are added up in
float32 beside the float32 weights, and freed in the model as soon as they are there. An update too
small for bfloat16's 8 bits is therefore not lost. Micikevicius et al., "Mixed Precision Training",
2017 (arXiv:1710.03740).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn


class MasterWeights:
    """The float32 weights of a model's trainable parameters, by name."""

    def __init__(self, model: nn.Module, compute_dtype: torch.dtype) -> None:
        """Turn the model's floating-point parameters into `compute_dtype`, keeping float32 ones.

        Parameters that are not trained are only converted. Buffers (the rotary frequencies) stay
        as they are.
        """
        self.by_name: dict[str, Tensor] = {}
        self._lower: list[tuple[Tensor, nn.Parameter]] = []
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(compute_dtype)
            elif compute_dtype == torch.float32:
                parameter.data = parameter.data.float()
                self.by_name[name] = parameter
            else:
                master = parameter.data.float()
                parameter.data = master.to(compute_dtype)
                self.by_name[name] = master
                self._lower.append((master, parameter))
                parameter.register_post_accumulate_grad_hook(adder(master))

    def publish(self) -> None:
        """Bring the model's weights up to the masters."""
        with torch.no_grad():
            for master, parameter in self._lower:
                parameter.copy_(master)


def adder(master: Tensor) -> Callable[[Tensor], None]:
    """A hook that adds a parameter's gradient to `master`'s, in float32, and frees it."""

    def add(parameter: Tensor) -> None:
        assert master.grad is not None, "the optimizer gives it its place"
        _move(master.grad, parameter)

    return add


def added_up(leaf: Tensor) -> Tensor:
    """The sum, in float32, that the gradients of `leaf` are added to from now on, and freed."""
    total = torch.zeros_like(leaf, dtype=torch.float32)
    leaf.register_post_accumulate_grad_hook(partial(_move, total))
    return total


def _move(total: Tensor, leaf: Tensor) -> None:
    assert leaf.grad is not None
    total += leaf.grad
    leaf.grad = None
