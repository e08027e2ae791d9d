"""Runs whose learner is on ranks of a cluster, one on each of two nodes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from actors import actors
from ray.cluster_utils import Cluster
from runs_on import Tune, on
from two_nodes import add_node, two_nodes

from agentscope_tuner.engine.ray.cluster import free_nodes, joined
from agentscope_tuner.engine.ray.patience import Patience
from agentscope_tuner.engine.ray.ranks import ranks_on
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.on_cluster import _prepare_rank
from attack.program import OUTPUT, PROGRAM, start, write_data
from attack.sameness import differences

RUN_S = 240
RANK = "RankActor"
RANKS = "trainer.ranks=2"
PRECISE = "explorer.rollout_model.dtype=float32"
GONE_S = 10.0
"""Within which nothing of a run that is gone is left."""
Start = Callable[..., BaseProcess]


@pytest.fixture
def nodes(alike_processes: None) -> Iterator[Cluster]:
    """Two nodes of which one may be struck."""
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def start_run(nodes: Cluster, tiny_model: Path, tmp_path: Path) -> Start:
    """Starts a deterministic run on two ranks under a name, on the cluster unless told `here`."""
    data = write_data(tmp_path / "data")

    def start_as(name: str, *options: str, here: bool = False) -> BaseProcess:
        settings = [RANKS, f"name={name}", "deterministic=true", *([] if here else on(nodes))]
        given = [part for setting in settings for part in ("--set", setting)]
        return start(tmp_path, "run", PROGRAM, *given, *options, str(tiny_model), str(data))

    return start_as


@pytest.fixture
def begun(start_run: Start, tmp_path: Path) -> Iterator[tuple[BaseProcess, Path]]:
    """A run that has saved its first step, and its directory."""
    directory = tmp_path / "checkpoints" / "AgentScope" / "struck"
    run = start_run("struck")
    deadline = time.monotonic() + RUN_S
    while not (directory / "global_step_1").exists():
        assert time.monotonic() < deadline, (tmp_path / OUTPUT).read_text()
        time.sleep(0.05)
    yield run, directory
    run.kill()


def said_of(run: BaseProcess, directory: Path, code: int = 1) -> str:
    """What a run said that has ended with this code."""
    run.join(RUN_S)
    said = " ".join((directory.parents[2] / OUTPUT).read_text().split())
    assert run.exitcode == code, said
    return said


def test_ranks_on_two_nodes_have_the_loss_and_the_norm_of_one_process(
    nodes: Cluster, tune_program: Tune
) -> None:
    spread, alone = (
        read_metrics(tune_program(name, PRECISE, *settings) / "metrics.jsonl")
        for name, settings in (("spread", [*on(nodes), RANKS]), ("alone", []))
    )
    for key in ("policy/loss", "policy/grad_norm"):
        told, expected = ([m[key] for m in metrics if key in m] for metrics in (spread, alone))
        assert told == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_rank_that_dies_ends_the_run_which_goes_on_to_the_bits_of_one_machine(
    begun: tuple[BaseProcess, Path], start_run: Start
) -> None:
    run, directory = begun
    os.kill(actors(RANK)[0].pid, signal.SIGKILL)
    struck = time.monotonic()
    said = said_of(run, directory)
    assert time.monotonic() - struck < 60
    assert "The run cannot go on: learner rank" in said
    assert "on node 127.0.0." in said
    assert "last sign of life" in said
    assert psutil.wait_procs(actors(RANK), timeout=GONE_S)[1] == []
    said_of(start_run("struck", "--resume"), directory, code=0)
    said_of(start_run("whole", here=True), directory, code=0)
    assert differences(directory, directory.with_name("whole")) == {}


def test_a_node_that_dies_ends_the_run_with_the_rank_that_was_there(
    begun: tuple[BaseProcess, Path], nodes: Cluster
) -> None:
    run, directory = begun
    struck = time.monotonic()
    nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)
    said = said_of(run, directory)
    assert time.monotonic() - struck < 75
    assert "on node 127.0.0.3" in said
    add_node(nodes)


def test_nothing_is_left_of_a_run_whose_driver_was_killed(
    begun: tuple[BaseProcess, Path],
) -> None:
    run, _ = begun
    ranks = actors(RANK)
    assert len(ranks) == 2
    run.kill()
    assert psutil.wait_procs(ranks, timeout=GONE_S)[1] == []


def test_a_rank_that_does_not_see_the_run_directory_is_refused(nodes: Cluster) -> None:
    def prepare() -> None:
        _prepare_rank(lambda: (None, None), Path("/nowhere/run/.seen"))

    with (
        joined(nodes.address),
        pytest.raises(InputError, match="The run directory /nowhere/run is not seen on"),
    ):
        ranks_on(free_nodes(), prepare, Patience())
