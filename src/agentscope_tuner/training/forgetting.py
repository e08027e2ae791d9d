"""What stands between a layer's matrix products is not kept, but computed again going backward.

That is a norm, or an activation times what it gates: a few passes over its input, and half of what
autograd keeps of a decoder. Here its input alone is kept, and the product behind it gets the value
anew, by the same operations on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel


class _Value:
    """A tensor that is forgotten: how it is computed, and what it was when it was asked for."""

    def __init__(self, compute: Callable[..., Tensor], parameters: tuple[Tensor, ...]) -> None:
        self.compute = compute
        self._parameters = parameters
        self._again: tuple[tuple[Tensor, ...], Tensor] | None = None

    def again(self, inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        """What it is made of, and the value with the graph that leads there; computed once for all
        who ask."""
        if self._again is None:
            leaves = tuple(x.detach().requires_grad_(x.requires_grad) for x in inputs)
            with torch.enable_grad():
                self._again = (*leaves, *self._parameters), self.compute(*leaves)
        return self._again

    def gradients(
        self, inputs: tuple[Tensor, ...], grad: Tensor, needed: tuple[bool, ...]
    ) -> Iterator[Tensor | None]:
        """Those of inputs and parameters that are needed; the value is forgotten again."""
        origins, value = self.again(inputs)
        self._again = None
        wanted = [origin for origin, is_needed in zip(origins, needed, strict=True) if is_needed]
        found = iter(torch.autograd.grad(value, wanted, grad))
        return (next(found) if is_needed else None for is_needed in needed)


class _Forgotten(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: _Value, inputs: int, *origins: Tensor) -> Tensor:
        ctx.value = value
        ctx.save_for_backward(*origins[:inputs])
        return value.compute(*origins[:inputs])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        return None, None, *ctx.value.gradients(ctx.saved_tensors, grad, needed)


class _Pass:
    """A forward pass: it knows the value that was computed last, which the next products take."""

    def __init__(self) -> None:
        # As long as the tensor is held, nothing else has its place in memory.
        self.last: tuple[Tensor, Callable[[], Tensor]] | None = None

    def keep(self, tensor: Tensor) -> Tensor | Callable[[], Tensor]:
        """What autograd is to keep of what it would keep."""
        if self.last is not None:
            known, again = self.last
            if tensor.data_ptr() == known.data_ptr() and tensor.numel() == known.numel():
                shape = tensor.shape
                return lambda: again().view(shape)
        # An output that its own node keeps would never be freed: node and output hold each other.
        return tensor.detach()


_pass: ContextVar[_Pass | None] = ContextVar("forward pass", default=None)


@contextmanager
def keeping_inputs_only() -> Iterator[None]:
    """In the block, products keep nothing of what can be computed again.

    Outside of it the same is computed, to the last bit, and more of it kept.
    """
    this = _Pass()
    token = _pass.set(this)
    try:
        with saved_tensors_hooks(this.keep, lambda kept: kept() if callable(kept) else kept):
            yield
    finally:
        _pass.reset(token)
        this.last = None  # what is kept holds its pass


def forget_between_products(model: PreTrainedModel) -> None:
    """Let the layers' norms and gated products be values that can be forgotten."""
    decoder: Any = model.get_decoder()
    for layer in decoder.layers:
        for name, part in layer.named_children():
            if name.endswith("layernorm"):
                part.forward = MethodType(_norm, part)
        layer.mlp.forward = MethodType(_gated, layer.mlp)


def _norm(self: nn.Module, hidden_TE: Tensor) -> Tensor:
    return _value(partial(type(self).forward, self), hidden_TE, parameters=tuple(self.parameters()))


def _gated(self: Any, hidden_TE: Tensor) -> Tensor:
    out: Tensor = self.down_proj(
        _value(
            lambda gate_TI, up_TI: self.act_fn(gate_TI) * up_TI,
            self.gate_proj(hidden_TE),
            self.up_proj(hidden_TE),
        )
    )
    return out


def _value(
    compute: Callable[..., Tensor], *inputs: Tensor, parameters: tuple[Tensor, ...] = ()
) -> Tensor:
    if not torch.is_grad_enabled():
        return compute(*inputs)
    value = _Value(compute, parameters)
    result: Tensor = _Forgotten.apply(value, len(inputs), *inputs, *parameters)
    if (this := _pass.get()) is not None:
        this.last = result, lambda: value.again(inputs)[1].detach()
    return result
