"""Runs beside each other."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
from sick_runs import RunOf

from agentscope_tuner.runs.comparison import compare
from agentscope_tuner.runs.files import RunFiles


def two(tmp_path: Path, **second: object) -> dict[str, RunFiles]:
    """A run that solves 32 of 40 held-out tasks at its end, and one that differs in this."""
    made = {"a": RunOf(), "b": replace(RunOf(), **second)}  # type: ignore[arg-type]
    return {name: RunFiles(run.write(tmp_path / name)) for name, run in made.items()}


def test_the_change_is_paired_by_task_with_its_error_and_the_flipped_tasks(tmp_path: Path) -> None:
    runs = two(tmp_path, held_out={0: 0.3, 6: 0.9})
    [change] = compare(runs).changes
    assert (change.run, change.set, change.steps, change.tasks) == ("b", "test", (8, 6), 40)
    # Four of forty tasks move by one.
    assert change.mean == pytest.approx(0.1)
    assert change.error == pytest.approx(sqrt(0.1 * 0.9 * 40 / 39 / 40))
    assert change.tells_apart
    assert {flip.about for flip in change.flipped} == {f"held out {n}" for n in range(32, 36)}
    assert {flip.rewards for flip in change.flipped} == {(0.0, 1.0)}
    assert all(len(text.split()) == 14 for flip in change.flipped for text in flip.answers)


def test_two_equal_runs_differ_in_nothing_but_their_name(tmp_path: Path) -> None:
    found = compare(two(tmp_path))
    assert found.differs == {}
    [change] = found.changes
    assert (change.mean, change.flipped, change.tells_apart) == (0.0, [], False)


def test_what_differs_in_the_configuration_is_named_with_both_values(tmp_path: Path) -> None:
    runs = two(tmp_path)
    (tmp_path / "b" / "config.yaml").write_text("{name: b, algorithm: {optimizer: {lr: 0.1}}}")
    assert compare(runs).differs == {"algorithm.optimizer.lr": {"a": None, "b": 0.1}}


def test_a_curve_has_its_cost_in_steps_tokens_and_minutes(tmp_path: Path) -> None:
    runs = two(tmp_path, metrics=lambda step: {"train/tokens": 100.0, "time/step": 30.0})
    curve = compare(runs).curves["b"]
    assert curve.metric == "reward/mean"
    assert curve.steps == [*range(1, 9)]
    assert curve.tokens == [100.0 * step for step in range(1, 9)]
    assert curve.minutes == [step / 2 for step in range(1, 9)]
    assert curve.values == [record["reward/mean"] for record in runs["b"].records()]


def test_without_a_shared_set_there_is_no_change(tmp_path: Path) -> None:
    assert compare(two(tmp_path, held_out={})).changes == []
