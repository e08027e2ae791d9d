"""Object stores that are too small: over the disk the run is the same; without one it ends by name
and loses nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import ray.cloudpickle
import stub
import torch
from ray.cluster_utils import Cluster
from runs_on import Tune, on
from stub import open_stub
from two_nodes import SMALL_STORE_BYTES, two_nodes

from agentscope_tuner.engine.ray.cluster import joined
from agentscope_tuner.engine.ray.crew import Crew
from agentscope_tuner.engine.ray.rollouts import RayRollouts
from agentscope_tuner.engine.ray.store import FULL
from agentscope_tuner.errors import RunError
from agentscope_tuner.rollout.sampling import Sampling
from attack.program import OUTPUT, PROGRAM, start, write_data
from attack.sameness import differences
from tiny_llama import write_tiny_llama

RUN_S = 240
DISK_IS_FULL = {"local_fs_capacity_threshold": 0.0}
"""Of a node's disk, the share that may be in use before nothing spills to it."""
PRECISE = "explorer.rollout_model.dtype=float32"
NO_ROOM = r"Ray's object store on node 127\.0\.0\.\d \(80\.0 MB\) has no room for "
WHAT_TO_DO = (
    r", and the disk that it spills to is full: free that disk, or give the store more memory "
    r"\(ray start --object-store-memory=\d+\)\. The last checkpoint is as it was; go on from it "
    r"with --resume\.$"
)


@pytest.fixture(scope="module")
def full(alike_processes: None) -> Iterator[Cluster]:
    """Two nodes with small stores, and disks that take nothing."""
    with two_nodes(SMALL_STORE_BYTES, **DISK_IS_FULL) as cluster:
        yield cluster


@pytest.fixture
def large_model(smol_directory: Path, tmp_path: Path) -> Path:
    """Its weights, 106 MB, are more than a small store holds."""
    return write_tiny_llama(tmp_path / "large", smol_directory, heads=16)


def said_of(directory: Path) -> str:
    return " ".join((directory / OUTPUT).read_text().split())


@pytest.mark.parametrize("spilling", [True, False])
def test_weights_that_a_store_does_not_hold_go_over_the_disk_and_the_run_is_the_same(
    spilling: bool, large_model: Path, tune_program: Tune, tmp_path: Path
) -> None:
    alone = tune_program("alone", PRECISE, model=large_model)
    with two_nodes(SMALL_STORE_BYTES, automatic_object_spilling_enabled=spilling) as cluster:
        spread = tune_program("spread", PRECISE, *on(cluster), model=large_model)
    assert differences(spread, alone) == {}
    assert "more than Ray's object store holds on 127.0.0.2 (80.0 MB)" in said_of(tmp_path)


def test_weights_that_have_no_room_end_the_run_before_anything_is_sampled(
    full: Cluster, large_model: Path, tmp_path: Path
) -> None:
    options = [part for setting in (PRECISE, *on(full)) for part in ("--set", setting)]
    data = write_data(tmp_path / "data")
    run = start(tmp_path, "run", PROGRAM, *options, str(large_model), str(data))
    run.join(RUN_S)
    said = said_of(tmp_path)
    assert run.exitcode == 1, said
    assert "has no room for 105.9 MB of weights 0, and the disk" in said
    assert list(tmp_path.rglob("step_*.jsonl*")) == []


def test_a_run_whose_store_others_fill_goes_on_to_the_same_bits_when_there_is_room(
    full: Cluster, tiny_model: Path, tune_program: Tune, tmp_path: Path
) -> None:
    given = [*on(full), "name=filled", "deterministic=true", "buffer.total_steps=8"]
    options = [part for setting in given for part in ("--set", setting)]
    command = ["run", PROGRAM, *options]
    what = [str(tiny_model), str(write_data(tmp_path / "data"))]
    run = start(tmp_path, *command, *what)
    directory = tmp_path / "checkpoints" / "AgentScope" / "filled"
    with joined(full.address):
        while not (directory / "global_step_1").exists():
            time.sleep(0.05)
        held = []
        deadline = time.monotonic() + RUN_S
        while run.is_alive() and time.monotonic() < deadline:
            held += filled()  # the place of the last weights too, as soon as they have left it
        held.clear()
    said = said_of(tmp_path)
    assert run.exitcode == 1, said
    assert "has no room for" in said
    again = start(tmp_path, *command, "--resume", *what)
    again.join(RUN_S)
    assert again.exitcode == 0, said_of(tmp_path)
    assert differences(directory, tune_program("whole", "buffer.total_steps=8")) == {}


def filled() -> list[ray.ObjectRef]:
    """All the room that there is in this node's store, by the megabyte."""
    held = []
    for size in (10_000_000, 1_000_000):
        try:
            while True:
                held.append(ray.put(np.zeros(size, np.uint8)))
        except FULL:
            pass
    return held


async def rolled_out(crew: Crew, task: dict[str, Any]) -> None:
    rollouts = RayRollouts(crew)
    await crew.start({"a": torch.zeros(3)})
    try:
        work = rollouts.rollout(
            [task, task],
            group_size=1,
            label="step1",
            seed=0,
            sampling=Sampling(),
            on_done=lambda rollout: None,
        )
        await asyncio.wait_for(work, 120)
    finally:
        await rollouts.close()


async def test_what_actors_send_or_are_sent_without_room_ends_the_run_by_name(
    full: Cluster,
) -> None:
    for module in (stub, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    who = r" MB that rollout actor \d on node 127\.0\.0\.\d, process \d+ \(last sign .*\) needs to "
    with joined(full.address):
        large = Crew(
            partial(open_stub, 0.1, 12_000_000),  # type: ignore[arg-type]
            size=1,
            resources={"num_cpus": 1.0},
        )
        with pytest.raises(
            RunError, match=f"{NO_ROOM}[0-9.]+{who}say what came of its rollouts{WHAT_TO_DO}"
        ):
            await rolled_out(large, {})
        small = Crew(open_stub, size=1, resources={"num_cpus": 1.0})  # type: ignore[arg-type]
        image = {"image": np.zeros(150_000_000, np.uint8)}
        with pytest.raises(RunError, match=f"{NO_ROOM}150.0{who}take its rollouts{WHAT_TO_DO}"):
            await rolled_out(small, image)
