"""`astuner runs`: what the table says of runs in every state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.run_state import RunState, RunStatus
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.monitor.phases import Phases
from agentscope_tuner.runs.listing import find_runs
from agentscope_tuner.runs.live import LiveFile


def write_run(
    directory: Path, status: RunStatus = "finished", records: list[dict] | None = None
) -> Path:
    directory.mkdir(parents=True)
    RunState(status, step=3, total_steps=8).save(directory)
    lines = [json.dumps(record) + "\n" for record in records or []]
    (directory / "metrics.jsonl").write_text("".join(lines))
    return directory


def test_a_tuned_run_is_listed(astuner: Astuner, tuned: Path) -> None:
    ended = astuner("runs")
    assert ended.code == 0
    [line] = [line for line in ended.out.splitlines() if "P/first" in line]
    assert "finished" in line
    assert "2/2" in line
    assert "test " in line


def test_programs_get_json(astuner: Astuner, tuned: Path) -> None:
    [row] = json.loads(astuner("runs", "--json").out)
    assert (row["name"], row["status"], row["step"], row["total_steps"]) == (
        "P/first",
        "finished",
        2,
        2,
    )
    assert set(row["best"]["test"]) == {"reward", "step"}
    assert row["training"]["metric"] == "reward/mean"
    assert row["directory"] == str(tuned)


def test_a_name_is_never_cut_off(tmp_path: Path) -> None:
    name = "a-rather-long-name-of-an-experiment-" * 4 + "end"
    write_run(tmp_path / "P" / name)
    command = [sys.executable, "-m", "agentscope_tuner", "runs", str(tmp_path)]
    bare = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    pipe = subprocess.run(command, env=bare, capture_output=True, text=True, check=True)
    assert f"P/{name}" in pipe.stdout
    narrow = {**bare, "COLUMNS": "60"}
    folded = subprocess.run(command, env=narrow, capture_output=True, text=True, check=True)
    cells = [line.split("│")[1].strip() for line in folded.stdout.splitlines() if "│" in line]
    assert "".join(cells) == f"P/{name}"


def test_the_best_evaluation_is_shown_with_its_step(tmp_path: Path) -> None:
    rewards = {0: 0.2, 4: 0.9, 8: 0.7}
    records: list[dict] = [{"step": s, "eval/test/reward/mean": r} for s, r in rewards.items()]
    records += [{"step": 8, "reward/mean": 0.5}]
    [row] = find_runs(write_run(tmp_path / "P" / "N", records=records))
    assert row.name == "P/N"
    assert row.best == {"test": (0.9, 4)}
    assert row.training == ("reward/mean", 0.5)


def test_a_run_that_nobody_writes_was_killed(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "P" / "N", "running")
    assert find_runs(tmp_path)[0].status == "killed"
    with RunLock(directory):
        assert find_runs(tmp_path)[0].status == "running"


def test_a_run_that_goes_on_says_what_it_does(astuner: Astuner, tmp_path: Path) -> None:
    directory = write_run(tmp_path / "P" / "N", "running")
    phases = Phases()
    live = LiveFile(directory, 8, phases)
    with RunLock(directory), phases.begun("learning"):
        live.begin(3)
        assert "running: learning, 0s" in astuner("runs", tmp_path).out
        [row] = json.loads(astuner("runs", tmp_path, "--json").out)
        assert row["live"]["phase"] == "learning"
    assert find_runs(tmp_path)[0].live is None  # its process is gone
    live.end()


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
def test_other_states_are_told_as_they_are(status: RunStatus, tmp_path: Path) -> None:
    write_run(tmp_path / "P" / "N", status)
    assert find_runs(tmp_path)[0].status == status


def test_a_run_whose_state_is_lost_or_damaged_is_listed_as_such(tmp_path: Path) -> None:
    records = [{"step": 2, "reward/mean": 0.5}]
    lost, damaged = (write_run(tmp_path / "P" / name, records=records) for name in ("a", "b"))
    CheckpointStore(lost).save(2, lambda path: path.joinpath("w").touch())
    (lost / "run_state.json").unlink()
    (damaged / "run_state.json").write_text("{")
    rows = {row.name: row for row in find_runs(tmp_path)}
    assert [row.status for row in rows.values()] == ["damaged", "damaged"]
    assert (rows["P/a"].step, rows["P/a"].total_steps) == (2, None)
    assert rows["P/b"].training == ("reward/mean", 0.5)


def test_a_project_and_a_run_can_be_named_too(tmp_path: Path) -> None:
    for name in ("P/a", "P/b", "Q/c"):
        write_run(tmp_path / name)
    assert len(find_runs(tmp_path)) == 3
    assert {row.name for row in find_runs(tmp_path / "P")} == {"P/a", "P/b"}
    assert [row.name for row in find_runs(tmp_path / "Q" / "c")] == ["Q/c"]


def test_no_runs_is_bad_input(astuner: Astuner, tmp_path: Path) -> None:
    ended = astuner("runs", tmp_path)
    assert ended.code == 2
    assert "There are no runs" in ended.err
