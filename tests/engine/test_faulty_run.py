"""A whole run, in a process of its own, whose workflow and judge commit every fault there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path

HERE = Path(__file__).parent
PATIENCE_S = 120


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The corpus as a dataset."""
    monkeypatch.syspath_prepend(str(HERE.parent / "rollout"))
    import faults

    lines = [json.dumps(task) for task in faults.faulty_tasks(good=8)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_a_run_of_nothing_but_faults_ends_well_and_its_process_exits(
    tiny_model: Path, tasks: Path
) -> None:
    from faults import expected_kind
    from faulty_run import GROUP

    command = [sys.executable, "-m", "agentscope_tuner", "run", str(HERE / "faulty_run.py")]
    options = ("explorer.max_timeout=15", "explorer.max_retry_times=0")
    ended = subprocess.run(
        [*command, str(tiny_model), str(tasks), *(f"--set={option}" for option in options)],
        cwd=tasks,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = tasks / "checkpoints" / "AgentScope" / "faulty"
    assert RunState.load(run) == RunState("finished", 1, 1)
    assert (run / "global_step_1").is_dir()
    assert (run / "reward_curve.png").is_file()
    assert not list(run.glob("**/*.tmp"))

    rollouts = read_rollouts(rollouts_path(run, 1))
    counted = Counter(rollout.task["n"] for rollout in rollouts)
    assert counted == dict.fromkeys(range(len(counted)), GROUP)
    for rollout in rollouts:
        kind = rollout.error and rollout.error.kind
        # A busy machine may make anything late.
        assert kind in (expected_kind(rollout.task), "timeout"), (rollout.task, rollout.error)
    [record] = read_metrics(run / "metrics.jsonl")
    assert record["rollout/count"] == len(rollouts)
    assert record["workflow/good"] == 1.0
    assert "workflow/nan" not in record
    assert (run / "run.log").read_text().count("The metric workflow/nan is missing") == 1
