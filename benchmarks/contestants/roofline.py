"""Measures how fast the processor multiplies matrices: bf16, the better of two ways, and fp32.

Where it has no instructions for bf16, only fp32.
"""

from __future__ import annotations

import torch
from channel import Channel, Message, Timer

SIZE = 2048
PRODUCTS = 20


def main() -> None:
    """Load and serve."""
    channel = Channel()
    wide_a_NN, wide_b_NN = (torch.randn(SIZE, SIZE) for _ in range(2))
    products = {"float32": lambda: wide_a_NN @ wide_b_NN}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        a_NN, b_NN = wide_a_NN.bfloat16(), wide_b_NN.bfloat16()
        packed = torch.ops.mkldnn._reorder_linear_weight(b_NN)
        linear = torch.ops.mkldnn._linear_pointwise
        products |= {
            "plain": lambda: a_NN @ b_NN,
            "prepacked": lambda: linear(a_NN, packed, None, "none", [], ""),
        }

    def work(request: Message) -> Message:
        rates = {}
        for name, product in products.items():
            product()
            with Timer() as timer:
                for _ in range(PRODUCTS):
                    product()
            rates[name] = 2 * SIZE**3 * PRODUCTS / timer.seconds
        bf16 = [rate for name, rate in rates.items() if name != "float32"]
        return {"flops": max(bf16, default=rates["float32"]), **rates}

    channel.serve(work)


if __name__ == "__main__":
    main()
