"""Trackers that are extras; each test is skipped where its package is not installed."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agentscope_tuner.monitor.base import Monitor, RunInfo
from agentscope_tuner.monitor.forgiving import Forgiving
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.monitor.tracked import TrackedRun
from agentscope_tuner.trajectory import Rollout


def tell(type: str, run: RunInfo, rollouts: list[Rollout], steps: range, reward: float) -> None:
    """Everything that a run tells a monitor."""
    monitor: Monitor
    _, monitor = create_monitors([type])
    monitor.start(run)
    for step in steps:
        monitor.log({"reward/mean": reward, "eval/test/pass@4": 0.5}, step)
        monitor.samples(rollouts, step)
    monitor.close()


def test_a_step_that_was_told_before_the_crash_is_not_told_again(run: RunInfo) -> None:
    first = TrackedRun(run, "wandb")
    assert first.id is None
    assert first.is_news(0)
    first.begin("abc")
    first.told(4)

    resumed = TrackedRun(replace(run, resumed_step=2), "wandb")
    assert resumed.id == "abc"
    assert not resumed.is_news(4)
    assert resumed.is_news(5)
    assert TrackedRun(run, "wandb").id is None, "a run from the beginning is new to the tracker"


class Down:
    """A tracker whose server goes away after the start."""

    def start(self, run: RunInfo) -> None:
        pass

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        raise ConnectionError("gone")

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        raise ConnectionError("gone")

    def close(self) -> None:
        raise ConnectionError("gone")


def test_a_tracker_that_goes_down_is_warned_about_and_the_run_goes_on(
    run: RunInfo, rollouts: list[Rollout], caplog: pytest.LogCaptureFixture
) -> None:
    monitor = Forgiving(Down())
    monitor.start(run)
    monitor.log({"reward/mean": 1.0}, 3)
    monitor.samples(rollouts, 3)
    monitor.close()
    assert "Down did not take the metrics of step 3: ConnectionError('gone')" in caplog.text
    assert len(caplog.records) == 3


def test_a_tracker_that_cannot_start_stops_the_run_before_it_began(run: RunInfo) -> None:
    class Unreachable(Down):
        def start(self, run: RunInfo) -> None:
            raise ConnectionError("no such server")

    with pytest.raises(ConnectionError):
        Forgiving(Unreachable()).start(run)


def wandb_rows(path: Path) -> list[dict[str, float]]:
    """The history in a `.wandb` file, which is a LevelDB log after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole, rows = path.read_bytes(), 7, b"", []
    while at < len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room  # the end of a block is padded
            continue
        _, length, part = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # the only or the last part of a record
            record = wandb_internal_pb2.Record.FromString(whole)
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            rows.append({key: json.loads(value) for key, value in items.items()})
            whole = b""
    return [row for row in rows if row]


def test_weights_and_biases_offline(
    run: RunInfo, rollouts: list[Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for part, steps, reward in [
        (run, range(1, 4), 0.1),
        (replace(run, resumed_step=1), range(2, 6), 0.2),
    ]:
        tell("wandb", part, rollouts, steps, reward)
        wandb.teardown()  # waits for W&B's own process, as the end of ours does
    files = sorted((run.directory / "monitor").glob("wandb/offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1, "both processes write to one run"
    rows = [row for file in files for row in wandb_rows(file)]
    assert sorted((row["_step"], row["reward/mean"]) for row in rows) == [
        (1, 0.1), (2, 0.1), (3, 0.1), (4, 0.2), (5, 0.2),
    ]  # fmt: skip
    assert list(run.directory.glob("monitor/wandb/offline-run-*/files/media/table/*"))


def test_mlflow_in_the_run_directory(
    run: RunInfo, rollouts: list[Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tell("mlflow", run, rollouts, range(1, 4), 0.1)
    tell("mlflow", replace(run, resumed_step=1), rollouts, range(2, 6), 0.2)
    directory = run.directory / "monitor" / "mlflow"
    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("project").experiment_id])
    assert found.data.params["optimizer.lr"] == "1e-05"
    assert found.data.metrics["eval/test/pass_4"] == 0.5
    assert found.info.status == "FINISHED"
    history = client.get_metric_history(found.info.run_id, "reward/mean")
    assert [(point.step, point.value) for point in history] == [
        (1, 0.1), (2, 0.1), (3, 0.1), (4, 0.2), (5, 0.2),
    ]  # fmt: skip
    assert len(list(directory.glob("artifacts/**/samples/step_5/*.md"))) == 2


def test_swanlab_offline(
    run: RunInfo, rollouts: list[Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("swanlab", reason="the extra `swanlab` is not installed")
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    tell("swanlab", run, rollouts, range(1, 4), 0.1)
    tell("swanlab", replace(run, resumed_step=1), rollouts, range(2, 6), 0.2)
    directory = run.directory / "monitor" / "swanlab"
    logs = list(directory.glob("run-*/run-*.swanlab"))
    assert len(logs) == 2
    assert len({log.name for log in logs}) == 1, "both processes write to one run"
    assert all(b"reward/mean" in log.read_bytes() for log in logs)
    assert list(directory.glob("run-*/media/text/**/*.txt"))
