"""What a rollout costs the driver, with few and with many under way: `make bench-driver`.

Four actors on this machine, whose rollouts take no processor time (`stub.py`), so that what is
measured is dealing, receiving and counting: processor seconds of the driver, per rollout.
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial

import psutil
import ray
import ray.cloudpickle
import stub
import torch

from agentscope_tuner.engine.ray.crew import Crew
from agentscope_tuner.engine.ray.rollouts import RayRollouts
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.trajectory import Rollout

ACTORS = 4
FEW, MANY = 100, 10_000
ROUNDS = {FEW: 30, MANY: 2}
GROUP = 10
TOKENS = 256
SECONDS = 2.0
"""A rollout takes: all of a round are under way at once."""


async def cost(at_once: int) -> float:
    """Milliseconds of processor time per rollout with so many at once."""
    open_rollouts = partial(stub.open_stub, SECONDS if at_once == MANY else 0.05, TOKENS)
    crew = Crew(
        open_rollouts,  # type: ignore[arg-type]
        size=ACTORS,
        resources={"num_cpus": 0.25},
        most_at_once=at_once // ACTORS,
    )
    await crew.start({"a": torch.zeros(3)})
    rollouts = RayRollouts(crew)

    async def one_round() -> None:
        done: list[Rollout] = []
        await rollouts.rollout(
            [{"question": "?"}] * (at_once // GROUP),
            group_size=GROUP,
            label="step1",
            seed=0,
            sampling=Sampling(),
            on_done=done.append,
        )
        assert len(done) == at_once

    await one_round()
    began, wall = time.process_time(), time.monotonic()
    for _ in range(ROUNDS[at_once]):
        await one_round()
    spent, took = time.process_time() - began, time.monotonic() - wall
    await rollouts.close()
    per_rollout = 1000 * spent / (at_once * ROUNDS[at_once])
    print(f"{at_once:>6} at once: {per_rollout:.3f} ms each; {took:.1f} s in all", flush=True)
    return per_rollout


def main() -> None:
    """Measure, and print."""
    ray.cloudpickle.register_pickle_by_value(stub)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=300_000_000,
        log_to_driver=False,
        _node_ip_address="127.0.0.2",
    )
    few, many = (asyncio.run(cost(at_once)) for at_once in (FEW, MANY))
    memory = psutil.Process(os.getpid()).memory_info().rss / 1e9
    print(f"{many / few:.2f} times as much; the driver has {memory:.2f} GB")
    ray.shutdown()


if __name__ == "__main__":
    main()
