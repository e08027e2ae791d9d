from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from agentscope_tuner.errors import RunError
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


@pytest.mark.parametrize("resumed_step", [None, 0])
def test_without_a_checkpoint_nothing_that_was_logged_holds(
    run: RunInfo, resumed_step: int | None
) -> None:
    write(run, STEPS)
    path = write(replace(run, resumed_step=resumed_step), STEPS[:1])
    assert read_metrics(path) == [{"step": 0, "eval/test/reward/mean": 0.2}]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_half_written_last_line_is_survived(run: RunInfo, cut: int) -> None:
    path = write(run, STEPS)
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 4 if cut < 30 else 3
    assert len(read_metrics(path)) == whole
    write(replace(run, resumed_step=3), [({"reward/mean": 0.9}, 3)])
    assert len(read_metrics(path)) == whole + 1


def test_damage_in_the_middle_is_named(run: RunInfo) -> None:
    path = write(run, STEPS)
    path.write_text(path.read_text().replace('{"step": 2', '{"step: 2', 1))
    with pytest.raises(RunError, match=re.escape(f"{path}, line 3, is not JSON")):
        read_metrics(path)
