"""New weights for the samplers of a Ray cluster of this machine: published, fetched, adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import ray
import torch
from channel import Channel, Message, Timer
from torch import Tensor

from agentscope_tuner.engine.ray.crew import Crew
from agentscope_tuner.rollout.under_way import UnderWay

TENSORS = 100


class Buffers:
    """What a sampler does with weights: it copies them into buffers of its own."""

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}

    async def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Copy."""
        for name, weight in weights.items():
            buffer = self._weights.setdefault(name, torch.empty_like(weight))
            buffer.copy_(weight)

    def running(self) -> list[UnderWay]:
        """It rolls nothing out."""
        return []


async def open_buffers() -> Buffers:
    """For a crew."""
    return Buffers()


def main() -> None:
    """Start as many samplers as asked for, and hand over on request."""
    channel = Channel()
    samplers, size = channel.settings["samplers"], channel.settings["bytes"]
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=4 * size,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    loop = asyncio.new_event_loop()
    crew = Crew(
        open_buffers,  # type: ignore[arg-type]
        size=samplers,
        resources={"num_cpus": 1 / samplers},
    )
    each = size // TENSORS // torch.bfloat16.itemsize
    weights = {f"w{n}": torch.zeros(each, dtype=torch.bfloat16) for n in range(TENSORS)}
    loop.run_until_complete(crew.start(weights))

    def hand_over(request: Message) -> Message:
        with Timer() as timer:
            loop.run_until_complete(crew.adopt(weights, request["version"]))
        return {"seconds": timer.seconds}

    channel.serve(hand_over)


if __name__ == "__main__":
    main()
