"""Measures how fast the processor multiplies bf16 matrices, the better of two ways."""

from __future__ import annotations

import torch
from channel import Channel, Message, Timer

SIZE = 2048
PRODUCTS = 20


def main() -> None:
    """Load and serve."""
    channel = Channel()
    a_NN, b_NN = (torch.randn(SIZE, SIZE, dtype=torch.bfloat16) for _ in range(2))
    packed = torch.ops.mkldnn._reorder_linear_weight(b_NN)
    products = {
        "plain": lambda: a_NN @ b_NN,
        "prepacked": lambda: torch.ops.mkldnn._linear_pointwise(a_NN, packed, None, "none", [], ""),
    }

    def work(request: Message) -> Message:
        rates = {}
        for name, product in products.items():
            product()
            with Timer() as timer:
                for _ in range(PRODUCTS):
                    product()
            rates[name] = 2 * SIZE**3 * PRODUCTS / timer.seconds
        return {"flops": max(rates.values()), **rates}

    channel.serve(work)


if __name__ == "__main__":
    main()
