"""`astuner check` with several tasks: what a run would learn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.engine.check import find_duplicates


def test_several_tasks_are_a_table_of_rewards_and_what_they_teach(
    astuner: Astuner, program: Path
) -> None:
    ended = astuner("check", program, "--tasks", "3", "--samples", "4")
    assert ended.code == 0, ended.err
    plain = json.loads(astuner("check", program, "--tasks", "3", "--samples", "4", "--json").out)
    rewards = [[r["reward"] for r in group["rollouts"]] for group in plain["groups"]]
    assert [len(group) for group in rewards] == [4, 4, 4]
    teaching = sum(len(set(group)) > 1 for group in rewards)
    assert plain["teaching"] == teaching
    assert f"groups that teach: {teaching} of 3" in ended.out
    for group in rewards:
        assert " ".join(f"{reward:.0f}" for reward in group) in ended.out.replace("…", "")
    assert plain["truncated"] == sum(
        r["truncated"] for group in plain["groups"] for r in group["rollouts"]
    )
    assert plain["memory"]["needs"]


def test_the_script_prints_nothing_into_the_json(astuner: Astuner, program: Path) -> None:
    program.write_text("print('hello')\n" + program.read_text())
    ended = astuner("check", program, "--json")
    assert json.loads(ended.out)["groups"][0]["rollouts"][0]["id"] == "check-0-0"
    assert "hello" in ended.err
    scores = astuner("evaluate", program, "--json")
    assert json.loads(scores.out)["models"][0]["sets"]["test"]["tasks"] == 4


def test_some_failures_are_shown_with_the_first_traceback_and_all_of_them_end_with_1(
    astuner: Astuner, program: Path
) -> None:
    text = program.read_text()
    once = "assert not hasattr(judge, 'asked'), 'asked twice'\n    judge.asked = 1\n    return "
    program.write_text(text.replace("return JudgeOutput", once + "JudgeOutput", 1))
    several = ("--tasks", "2", "--samples", "2", "--set", "explorer.max_retry_times=0")
    some = astuner("check", program, *several)
    assert some.code == 0
    assert "failed: 3 of 4 (judge 3)" in some.out
    assert "AssertionError: asked twice" in some.out
    program.write_text(text.replace("return JudgeOutput", "return 1 / 0, JudgeOutput", 1))
    every = astuner("check", program, *several)
    assert every.code == 1
    assert "Each of 4 rollouts failed (judge)" in " ".join(every.err.split())


def test_held_out_tasks_that_are_trained_on_are_found() -> None:
    training = [{"q": "One  two", "a": 1}, {"q": "three", "a": 3}]
    held_out = {"test": [{"q": "one two", "a": 2}, {"q": "four", "a": 4}, {"q": "three", "a": 3}]}
    found = [(d.set, d.about, d.whole) for d in find_duplicates(training, held_out)]
    assert found == [("test", "one two", False), ("test", "three", True)]


def test_more_tasks_than_there_are_is_bad_input(astuner: Astuner, program: Path) -> None:
    ended = astuner("check", program, "--tasks", "13")
    assert ended.code == 2
    assert "--tasks 13: the training set has 12" in ended.err


@pytest.mark.parametrize("option", ["--tasks", "--samples"])
def test_none_of_something_is_bad_usage(option: str, astuner: Astuner, program: Path) -> None:
    assert astuner("check", program, option, "0").code == 2
