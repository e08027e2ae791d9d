"""Actors die, hang and are too many: each rollout counts once all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import ray.cloudpickle
import stub
import torch
from ray.cluster_utils import Cluster
from stub import open_stub

from agentscope_tuner.engine.ray.cluster import joined
from agentscope_tuner.engine.ray.crew import Crew
from agentscope_tuner.engine.ray.patience import Patience
from agentscope_tuner.engine.ray.rollouts import RayRollouts
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.trajectory import Rollout, RolloutGroup

WEIGHTS = {"a": torch.zeros(3)}
ONE_CPU = {"num_cpus": 1.0}


@pytest.fixture(scope="module")
def driver(cluster: Cluster) -> Iterator[None]:
    """This process belongs to the cluster."""
    for module in (stub, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    with joined(cluster.address):
        yield


def run(rollouts: RayRollouts, tasks: int, size: int, done: list[Rollout]) -> asyncio.Task:
    work = rollouts.rollout(
        [{"number": number} for number in range(tasks)],
        group_size=size,
        label="step1",
        seed=0,
        sampling=Sampling(),
        on_done=done.append,
    )
    return asyncio.create_task(work)  # type: ignore[arg-type]


async def test_what_actors_have_under_way_is_seen_with_its_task(driver: None) -> None:
    crew = Crew(
        partial(open_stub, 3.0), size=2, resources=ONE_CPU, patience=Patience(heartbeat_s=0.2)
    )
    await crew.start(WEIGHTS)
    rollouts = RayRollouts(crew)
    try:
        drawing = run(rollouts, tasks=2, size=2, done=[])
        while len(seen := rollouts.running()) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        groups = await asyncio.wait_for(drawing, 120)
    finally:
        await rollouts.close()
    assert sorted(one.id for one in seen) == names(groups)
    assert {one.id: one.task["number"] for one in seen}["step1-1-0"] == 1
    assert rollouts.running() == []


async def until(done: list[Rollout], count: int) -> None:
    while len(done) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def names(groups: list[RolloutGroup]) -> list[str]:
    return [rollout.id for group in groups for rollout in group.rollouts]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_or_says_nothing_any_more_loses_no_rollout(
    driver: None, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    patience = Patience(silence_s=4.0, heartbeat_s=0.5)
    crew = Crew(
        partial(open_stub, 0.2), size=2, resources=ONE_CPU, most_at_once=2, patience=patience
    )
    await crew.start(WEIGHTS)
    rollouts, done = RayRollouts(crew), []
    try:
        running = run(rollouts, tasks=20, size=4, done=done)
        await until(done, 8)
        os.kill(int(done[0].metrics["process"]), number)
        groups = await asyncio.wait_for(running, 120)
    finally:
        await rollouts.close()
    assert names(groups) == [f"step1-{group}-{index}" for group in range(20) for index in range(4)]
    assert len(done) == 80
    told = "died" if number == signal.SIGKILL else "did not say anything within 4 s"
    assert told in caplog.text
    assert "rollout actor" in caplog.text
    assert "last sign of life" in caplog.text


async def test_weights_are_adopted_by_all_and_by_who_comes_later(driver: None) -> None:
    crew = Crew(partial(open_stub, 0.1), size=2, resources=ONE_CPU, most_at_once=2)
    await crew.start(WEIGHTS)
    rollouts, done = RayRollouts(crew), []
    try:
        await rollouts.adopt(WEIGHTS, 7)
        running = run(rollouts, tasks=10, size=4, done=done)
        await until(done, 4)
        os.kill(int(done[0].metrics["process"]), signal.SIGKILL)
        await asyncio.wait_for(running, 120)
    finally:
        await rollouts.close()
    sampled = [r.trajectory.segments[1].sampled for r in done]
    assert {one.version for one in sampled if one} == {7}


async def test_a_fault_of_ours_ends_the_run_with_its_own_words(driver: None) -> None:
    crew = Crew(open_stub, size=1, resources=ONE_CPU)
    await crew.start(WEIGHTS)
    rollouts = RayRollouts(crew)
    try:
        with pytest.raises(ValueError, match="a fault of ours"):
            await rollouts.rollout(
                [{"fault": True}],
                group_size=1,
                label="step1",
                seed=0,
                sampling=Sampling(),
                on_done=lambda rollout: None,
            )
    finally:
        await rollouts.close()


async def refuse() -> None:
    raise InputError("There is no model here.")


async def test_what_an_actor_refuses_to_open_is_one_sentence(driver: None) -> None:
    crew = Crew(refuse, size=2, resources=ONE_CPU)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^There is no model here\.$"):
        await crew.start(WEIGHTS)


async def test_an_actor_that_finds_no_place_is_named_in_time(driver: None) -> None:
    crew = Crew(open_stub, size=1, resources={"num_cpus": 9}, patience=Patience(place_s=2.0))
    with pytest.raises(RunError, match=r"did not find room .9 CPUs, 0 GPUs. within 2 s"):
        await crew.start(WEIGHTS)
