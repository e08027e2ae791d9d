"""`astuner evaluate`: several models, the same tasks, the same draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.monitor.jsonl import read_metrics


def test_a_checkpoint_scores_as_its_run_said(
    astuner: Astuner, tuned: Path, tiny_model: Path
) -> None:
    models = ("--model", tiny_model, "--model", tuned)
    ended = astuner("evaluate", "main.py", *models, "--samples", "4", "--output", "out/scores.json")
    assert ended.code == 0, ended.err
    scores = json.loads(Path("out/scores.json").read_text())
    before, after = (model["sets"]["test"] for model in scores["models"])
    logged = [
        record for record in read_metrics(tuned / "metrics.jsonl") if "reward/mean" not in record
    ]
    for score, record in zip((before, after), logged, strict=True):
        assert score["reward"]["mean"] == record["eval/test/reward/mean"]
        assert score["pass_at"] == {k: record[f"eval/test/pass@{k}"] for k in "124"}
    change = after["reward"]["mean"] - before["reward"]["mean"]
    assert after["change"]["mean"] == pytest.approx(change)
    assert [len(task) for task in after["rewards"]] == [4] * 4
    assert f"{before['reward']['mean']:.3f} ± " in ended.out
    assert "first/global_step_2" in ended.out


def test_one_model_draws_the_same_again(astuner: Astuner, program: Path) -> None:
    one, two = (
        astuner("evaluate", program, "--output", name) and json.loads(Path(name).read_text())
        for name in ("one.json", "two.json")
    )
    assert (
        one["models"][0]["sets"]["test"]["rewards"] == two["models"][0]["sets"]["test"]["rewards"]
    )


def test_the_script_goes_no_further_than_its_call_of_tune(astuner: Astuner, program: Path) -> None:
    ended = astuner("evaluate", program)
    assert ended.code == 0
    assert "finished" not in ended.out
    assert not Path("checkpoints").exists()


def test_at_temperature_0_all_samples_agree(astuner: Astuner, program: Path) -> None:
    astuner("evaluate", program, "--samples", "3", "--temperature", "0", "--output", "scores.json")
    score = json.loads(Path("scores.json").read_text())["models"][0]["sets"]["test"]
    assert score["temperature"] == 0
    assert all(len(set(rewards)) == 1 for rewards in score["rewards"])


def test_what_a_success_is_can_be_said(astuner: Astuner, program: Path) -> None:
    astuner("evaluate", program, "--success", "0", "--output", "scores.json")
    assert json.loads(Path("scores.json").read_text())["models"][0]["sets"]["test"]["pass_at"] == {
        "1": 1.0
    }


def test_failures_are_counted_by_kind(astuner: Astuner, program: Path) -> None:
    text = program.read_text()
    fault = "assert task['question'] != '12 + 1 ='\n    return JudgeOutput("
    program.write_text(text.replace("return JudgeOutput(", fault, 1))
    ended = astuner("evaluate", program, "--set", "explorer.max_retry_times=0")
    assert ended.code == 0
    assert "1 (judge 1)" in ended.out


def test_without_tasks_to_evaluate_on_it_is_bad_input(astuner: Astuner, program: Path) -> None:
    lines = [line for line in program.read_text().splitlines() if "eval_dataset" not in line]
    program.write_text("\n".join(lines))
    ended = astuner("evaluate", program)
    assert ended.code == 2
    assert "eval_dataset" in ended.err


def test_a_damaged_checkpoint_is_not_evaluated(astuner: Astuner, tuned: Path) -> None:
    (tuned / "global_step_2" / "config.json").write_text("{}")
    ended = astuner("evaluate", "main.py", "--model", tuned / "global_step_2")
    assert ended.code == 2
    assert "config.json has 2 bytes instead of" in " ".join(ended.err.split())
