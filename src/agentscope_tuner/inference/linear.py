"""Matrix products with weights laid out for the device."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from agentscope_tuner.inference.kernels import ELEMENTS, compiled, product_outruns_libraries

Linear = Callable[[Tensor], Tensor]
"""`[tokens, in] -> [tokens, out]`."""

BLOCK_ROWS = 32
"""Rows of every product of a deterministic sampler, where our own kernel does not serve."""
STRIP = 16
"""Outputs whose weights the kernel reads together; it takes an even number of strips."""


def pack_linear(
    weight_OI: Tensor, bias_O: Tensor | None = None, *, deterministic: bool = False
) -> Linear:
    """A linear layer over a weight that is in its final dtype and on its final device.

    On a CPU it goes through our own kernel where that is the fastest. Else, bf16 goes through
    oneDNN with the weight reordered once: 1.2 to 2 times as fast as `F.linear`, which reorders it
    at every call. The original weight is not kept then.

    Args:
        weight_OI: The weight.
        bias_O: The bias, if there is one.
        deterministic: A row of the result depends on the same row alone, to the last bit.
    """
    if suits_product(weight_OI.shape[1], weight_OI.dtype, weight_OI.device):
        library = compiled(weight_OI.dtype)
        assert library is not None
        return Product(library, weight_OI, bias_O)
    if can_prepack(weight_OI):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI)

        def linear(x_TI: Tensor) -> Tensor:
            return torch.ops.mkldnn._linear_pointwise(x_TI, packed, bias_O, "none", [], "")
    else:

        def linear(x_TI: Tensor) -> Tensor:
            return F.linear(x_TI, weight_OI, bias_O)

    return in_blocks(linear) if deterministic else linear


def suits_product(inputs: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether our own product is there and the fastest for a weight with that many inputs."""
    return (
        dtype in ELEMENTS
        and device.type == "cpu"
        and inputs % 2 == 0
        and product_outruns_libraries(dtype)
        and compiled(dtype) is not None
    )


class Product:
    """The same layer by our own kernel; each row of its result depends on the same row alone.

    The weight is copied, whatever its shape.
    """

    def __init__(self, library: ctypes.CDLL, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._library = library
        self._outputs = len(weight_OI)
        self._dtype = weight_OI.dtype
        padding = -self._outputs % (2 * STRIP)
        if padding:
            weight_OI = F.pad(weight_OI, (0, 0, 0, padding))
        # Words of 4 bytes: numbers in fp32, pairs of them in bf16.
        strips = weight_OI.contiguous().view(torch.int32).unflatten(0, (-1, STRIP)).transpose(1, 2)
        self._strips = strips.clone(memory_format=torch.contiguous_format)
        self._bias = None if bias_O is None else F.pad(bias_O.float(), (0, padding))

    def __call__(self, x_TI: Tensor) -> Tensor:
        """Compute the layer."""
        out_TO = x_TI.new_empty(len(x_TI), self._outputs)
        scratch_TI = torch.empty(x_TI.shape)
        self._library.product(
            x_TI.contiguous().data_ptr(),
            self._strips.data_ptr(),
            0 if self._bias is None else self._bias.data_ptr(),
            out_TO.data_ptr(),
            scratch_TI.data_ptr(),
            len(x_TI),
            x_TI.shape[1],
            self._outputs,
        )
        return out_TO

    def weights_of(self, outputs_T: Tensor) -> Tensor:
        """Rows of the weight, `[T, in]`: of a head that is also the embedding, these are that."""
        words_TI = self._strips[outputs_T // STRIP, :, outputs_T % STRIP]
        return words_TI.contiguous().view(self._dtype)


def in_blocks(linear: Linear) -> Linear:
    """The same layer as products of `BLOCK_ROWS` rows each, the last one padded.

    A product's shape decides about its kernel, and so about the order of its sums. With one shape
    for all, a row's result does not depend on how many others are computed beside it.
    """

    def apply(x_TI: Tensor) -> Tensor:
        padded_TI = F.pad(x_TI, (0, 0, 0, -len(x_TI) % BLOCK_ROWS))
        out_TO = torch.cat([linear(block_BI) for block_BI in padded_TI.split(BLOCK_ROWS)])
        return out_TO[: len(x_TI)]

    return apply


def can_prepack(weight: Tensor) -> bool:
    """Whether oneDNN has fast bf16 products on this processor and the weight is one for them."""
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
