"""Looking at a program whose first `tune()` is a warm-up on written conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Astuner

WARM_UP = """
    warm = tune(
        model=TunerModelConfig(model_path="{model}", max_model_len=256, max_tokens=8),
        train_dataset=DatasetConfig(path="conversations"),
        algorithm=AlgorithmConfig(algorithm_type="sft", batch_size=2),
        project_name="P",
        experiment_name="{name}",
    )
    print("warmed up", warm.metrics["policy/loss"])
"""
MAIN = 'if __name__ == "__main__":\n'


def warm_up_first(program: Path, model: Path, name: str = "warm") -> None:
    """Reinforcement goes on with what the warm-up returns."""
    before, after = program.read_text().split(MAIN)
    warm_up = WARM_UP.replace("{model}", str(model)).replace("{name}", name)
    after = after.replace(f'model_path="{model}"', "model_path=str(warm.checkpoint)")
    assert "str(warm.checkpoint)" in after
    program.write_text(before + MAIN + warm_up + after)


def test_a_warm_up_is_passed_over_and_the_model_that_it_begins_with_is_evaluated(
    astuner: Astuner, program: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [plainly] = json.loads(astuner("evaluate", program, "--json").out)["models"]
    warm_up_first(program, tiny_model)
    ended = astuner("evaluate", program, "--json")
    [after_it] = json.loads(ended.out)["models"]
    assert after_it["path"] == plainly["path"] == str(tiny_model)
    assert after_it["sets"]["test"]["rewards"] == plainly["sets"]["test"]["rewards"]
    assert "tune() without a workflow_func is passed over" in caplog.text
    assert not Path("checkpoints").exists()


def test_the_checkpoint_of_a_warm_up_that_was_run_is_evaluated(
    astuner: Astuner, tuned: Path, tiny_model: Path
) -> None:
    warm_up_first(Path("main.py"), tiny_model, name=tuned.name)
    scores = json.loads(astuner("evaluate", "main.py", "--json").out)
    assert [model["name"] for model in scores["models"]] == ["first/global_step_2"]


def test_the_conversation_that_is_checked_is_not_the_warm_ups(
    astuner: Astuner, program: Path, tiny_model: Path
) -> None:
    warm_up_first(program, tiny_model)
    [group] = json.loads(astuner("check", program, "--json").out)["groups"]
    assert [rollout["id"] for rollout in group["rollouts"]] == ["check-0-0"]


@pytest.mark.parametrize("command", ["check", "evaluate"])
@pytest.mark.parametrize(
    ("then", "why"),
    [
        ("print(warm.finished)", ""),
        ("raise SystemExit(0)", ""),
        ("print(len(warm))", ", and without a run it ended by TypeError"),
    ],
)
def test_a_program_without_a_workflow_is_bad_input_whatever_it_does_next(
    command: str, then: str, why: str, astuner: Astuner, program: Path, tiny_model: Path
) -> None:
    warm_up_first(program, tiny_model)
    text = program.read_text()
    program.write_text(text[: text.index("    result = tune(")] + f"    {then}\n")
    ended = astuner(command, program)
    assert ended.code == 2
    sentence = f"has no call of tune() with a workflow_func to {command}: give it one{why}"
    assert sentence in " ".join(ended.err.split())


def test_a_program_that_ends_by_itself_before_its_workflow_keeps_its_code(
    astuner: Astuner, program: Path, tiny_model: Path
) -> None:
    warm_up_first(program, tiny_model)
    text = program.read_text()
    program.write_text(text.replace('    print("warmed up"', '    exit(7), print("warmed up"'))
    assert astuner("evaluate", program).code == 7
