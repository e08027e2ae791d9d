from __future__ import annotations

from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.tensorboard import TensorBoard
from agentscope_tuner.trajectory import Rollout


def events(run: RunInfo) -> EventAccumulator:
    accumulator = EventAccumulator(
        str(run.directory / "monitor" / "tensorboard"), size_guidance={"tensors": 0}
    )
    return accumulator.Reload()


def scalars(run: RunInfo, key: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 3)) for event in events(run).Scalars(key)]


def text(run: RunInfo, key: str) -> str:
    (value,) = events(run).Tensors(f"{key}/text_summary")[-1].tensor_proto.string_val
    return value.decode()


def test_scalars_are_there_before_the_writer_is_closed(run: RunInfo) -> None:
    monitor = TensorBoard()
    monitor.start(run)
    monitor.log({"reward/mean": 0.25, "rollout/failed": 1}, 1)
    assert scalars(run, "reward/mean") == [(1, 0.25)]
    assert scalars(run, "rollout/failed") == [(1, 1.0)]
    monitor.close()


def test_hyperparameters_and_conversations_are_text(run: RunInfo, rollouts: list[Rollout]) -> None:
    monitor = TensorBoard()
    monitor.start(run)
    monitor.samples(rollouts, 1)
    monitor.close()
    assert "| optimizer.lr | 1e-05 |" in text(run, "hyperparameters")
    conversation = text(run, "samples/0")
    assert "**reward** 1" in conversation
    assert "What is 2 + 3?" in conversation
    assert '[calls add({"a": 2})]' in conversation
    assert "It is 5." in conversation
    assert text(run, "samples/1") == "**failed** (workflow): KeyError: 'x'"


def test_a_resumed_run_shows_every_step_once(run: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    # Event files are ordered by the second in their names.
    seconds = count(2_000_000_000)
    clock = SimpleNamespace(time=lambda: next(seconds))
    monkeypatch.setattr(event_file_writer, "time", clock)

    def train(run: RunInfo, steps: range, reward: float) -> None:
        monitor = TensorBoard()
        monitor.start(run)
        for step in steps:
            monitor.log({"reward/mean": reward}, step)
        monitor.close()

    train(run, range(1, 5), 0.1)
    train(replace(run, resumed_step=2), range(3, 6), 0.2)
    assert scalars(run, "reward/mean") == [(1, 0.1), (2, 0.1), (3, 0.2), (4, 0.2), (5, 0.2)]
    train(replace(run, resumed_step=None), range(3), 0.3)
    assert scalars(run, "reward/mean") == [(0, 0.3), (1, 0.3), (2, 0.3)]
    train(replace(run, resumed_step=0), range(1, 3), 0.4)
    assert scalars(run, "reward/mean") == [(0, 0.3), (1, 0.4), (2, 0.4)]
