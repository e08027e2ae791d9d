"""Matrix products with weights laid out for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""`[tokens, in] -> [tokens, out]`."""


def pack_linear(weight_OI: Tensor, bias_O: Tensor | None = None) -> Linear:
    """A linear layer over a weight that is in its final dtype and on its final device.

    bf16 on a CPU goes through oneDNN with the weight reordered once: 1.2 to 2 times as fast as
    `F.linear`, which reorders it at every call. The original weight is not kept.
    """
    if can_prepack(weight_OI):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI)
        return lambda x_TI: torch.ops.mkldnn._linear_pointwise(x_TI, packed, bias_O, "none", [], "")
    return lambda x_TI: F.linear(x_TI, weight_OI, bias_O)


def can_prepack(weight: Tensor) -> bool:
    """Whether oneDNN has fast bf16 products on this processor and the weight is one for them."""
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
