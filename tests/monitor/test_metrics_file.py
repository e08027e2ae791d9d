from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.jsonl import MetricsFile, read_metrics


def write(run: RunInfo, records: list[tuple[dict[str, float], int]]) -> Path:
    file = MetricsFile()
    file.start(run)
    for metrics, step in records:
        file.log(metrics, step)
    file.close()
    return run.directory / "metrics.jsonl"


STEPS: list[tuple[dict[str, float], int]] = [
    ({"eval/test/reward/mean": 0.2}, 0),
    ({"reward/mean": 0.1}, 1),
    ({"reward/mean": 0.2}, 2),
    ({"eval/test/reward/mean": 0.3}, 2),
    ({"reward/mean": 0.4}, 3),
]


def test_each_step_and_each_evaluation_is_one_line(run: RunInfo) -> None:
    path = write(run, STEPS)
    assert read_metrics(path) == [{"step": step, **metrics} for metrics, step in STEPS]


def test_lines_are_readable_before_the_file_is_closed(run: RunInfo) -> None:
    file = MetricsFile()
    file.start(run)
    file.log({"reward/mean": 0.5}, 1)
    assert read_metrics(run.directory / "metrics.jsonl") == [{"step": 1, "reward/mean": 0.5}]
    file.close()


def test_numbers_that_json_does_not_know_stay_valid_json(run: RunInfo) -> None:
    path = write(run, [({"a": math.nan, "b": math.inf}, 1)])
    assert json.loads(path.read_text()) == {"step": 1, "a": None, "b": None}
    (record,) = read_metrics(path)
    assert math.isnan(record["a"])


def test_a_resumed_run_forgets_the_steps_that_are_run_again(run: RunInfo) -> None:
    write(run, STEPS)
    path = write(replace(run, resumed_step=2), [({"reward/mean": 0.9}, 3)])
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 2, 2, 3]
    assert read_metrics(path)[-1]["reward/mean"] == 0.9


def test_without_a_checkpoint_nothing_that_was_logged_holds(run: RunInfo) -> None:
    write(run, STEPS)
    path = write(replace(run, resumed_step=None), STEPS[:1])
    assert read_metrics(path) == [{"step": 0, "eval/test/reward/mean": 0.2}]


def test_from_the_checkpoint_before_the_first_step_the_baseline_holds(run: RunInfo) -> None:
    write(run, STEPS)
    path = write(replace(run, resumed_step=0), STEPS[1:2])
    assert [record["step"] for record in read_metrics(path)] == [0, 1]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_half_written_last_line_is_survived(run: RunInfo, cut: int) -> None:
    path = write(run, STEPS)
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 4 if cut < 30 else 3
    assert len(read_metrics(path)) == whole
    write(replace(run, resumed_step=3), [({"reward/mean": 0.9}, 3)])
    assert len(read_metrics(path)) == whole + 1


@pytest.mark.parametrize(
    "damaged", ['{"step: 2', '{"stop": 2', '{"step": "2"', '{"step": 2, "a": []', '[{"step": 2']
)
def test_damage_in_the_middle_is_named_and_passed_over(
    run: RunInfo, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(run, STEPS)
    path.write_text(path.read_text().replace('{"step": 2', damaged, 1))
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 2, 3]
    assert f"{path}, line 3, is damaged and is passed over" in caplog.text
    write(replace(run, resumed_step=3), [({"reward/mean": 0.9}, 4)])
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 2, 3, 4]


def test_a_damaged_number_of_a_step_takes_no_later_ones_away(run: RunInfo) -> None:
    path = write(run, STEPS)
    path.write_text(path.read_text().replace('{"step": 2', '{"step": 92', 1))
    write(replace(run, resumed_step=3), [({"reward/mean": 0.9}, 4)])
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 92, 2, 3, 4]
