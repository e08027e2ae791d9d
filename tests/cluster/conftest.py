"""What the tests on a Ray cluster share: two nodes, and a run's program on them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from runs_on import Tune
from two_nodes import two_nodes

from attack.program import OUTPUT, PROGRAM, start, write_data

RUN_S = 120


@pytest.fixture(scope="session", autouse=True)
def alike_processes() -> Iterator[None]:
    """One thread everywhere, as sums depend on it; and no token, which would be left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def cluster(alike_processes: None) -> Iterator[Cluster]:
    """Two nodes with a processor each."""
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def tune_program(tiny_model: Path, tmp_path: Path) -> Tune:
    """Tunes a model, the tiny one if none is given, deterministically, in a process of its own."""
    data = write_data(tmp_path / "data")

    def tune_as(name: str, *settings: str, model: Path = tiny_model) -> Path:
        given = [f"name={name}", "deterministic=true", "buffer.total_steps=2", *settings]
        options = [part for setting in given for part in ("--set", setting)]
        run = start(tmp_path, "run", PROGRAM, *options, str(model), str(data))
        run.join(RUN_S)
        said = (tmp_path / OUTPUT).read_text()
        assert run.exitcode == 0, said
        return tmp_path / "checkpoints" / "AgentScope" / name

    return tune_as


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory for Ray's files: the names of sockets are short."""
    directory = Path(tempfile.mkdtemp(prefix="ray"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
