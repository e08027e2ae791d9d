"""SIGTERM at a run on a cluster, where Ray has a handler of its own."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from actors import actors
from ray.cluster_utils import Cluster
from runs_on import on

from attack.program import OUTPUT, PROGRAM, start, write_data

BEGUN_S = 120
ENDED_S = 30


@pytest.mark.parametrize("settings", [[], ["trainer.ranks=2"]], ids=["learner", "ranks"])
@pytest.mark.parametrize("moment", ["rollout actors", "first step"])
def test_a_run_that_gets_sigterm_ends_in_order(
    moment: str, settings: list[str], cluster: Cluster, tiny_model: Path, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data")
    of_run = [*on(cluster), *settings, "name=stopped", "buffer.total_steps=1000"]
    given = [part for setting in of_run for part in ("--set", setting)]
    run = start(tmp_path, "run", PROGRAM, *given, str(tiny_model), str(data))
    saved = tmp_path / "checkpoints" / "AgentScope" / "stopped" / "global_step_1"
    deadline = time.monotonic() + BEGUN_S
    try:
        while not (actors("RolloutWorker") if moment == "rollout actors" else saved.exists()):
            assert time.monotonic() < deadline, (tmp_path / OUTPUT).read_text()
            time.sleep(0.05)
        run.terminate()
        run.join(ENDED_S)
    finally:
        run.kill()
    said = (tmp_path / OUTPUT).read_text()
    assert run.exitcode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    assert ("all is saved" in " ".join(said.split())) == (moment == "first step")
    assert not actors("RolloutWorker")
    assert not actors("RankActor")
