"""`astuner rescore`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Astuner

OTHER = '''
from agentscope.tuner import JudgeOutput


async def odd(task, response):
    """The other way round."""
    length = len(response.get_text_content() or "")
    return JudgeOutput(reward=float(length % 2), explanation=f"{task['question']} {length}")


async def same(task, response):
    return JudgeOutput(reward=float(len(response.get_text_content() or "") % 2 == 0))


async def broken(task, response):
    raise ValueError("no such field")


async def asks(task, response, auxiliary_models):
    answer = await auxiliary_models["critic"]([{"role": "user", "content": "1 + 1 ="}])
    print("asked", type(answer).__name__)
    return JudgeOutput(reward=1.0)


def plain(task, response):
    return JudgeOutput(reward=1.0)
'''


@pytest.fixture
def judged(tuned: Path) -> Path:
    """A finished run, and `other.py` with judges."""
    Path("other.py").write_text(OTHER)
    return tuned


def test_the_judge_of_the_run_gives_the_same_rewards_again(astuner: Astuner, judged: Path) -> None:
    ended = astuner("rescore", judged, "--judge", "other.py:same", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["rollouts"], found["both"], found["groups"]) == (16, 16, 4)
    assert found["moved"] == []
    assert found["as_text"] == 0
    assert found["before"] == found["after"]
    assert found["spearman"] == pytest.approx(1)


def test_another_judge_stands_beside_it_with_the_rollouts_that_moved(
    astuner: Astuner, judged: Path
) -> None:
    ended = astuner("rescore", judged, "--judge", "other.py:odd", "--step", "2")
    assert ended.code == 0, ended.err
    out = " ".join(ended.out.split())
    assert "reward of 8 rollouts" in out
    assert "rank correlation -1.00" in out
    assert "order in groups, which is learnt from: -1.00" in out
    assert "another reward: 8 of 8 rollouts" in out
    assert "step2-0-0" in out


def test_held_out_rollouts_can_be_judged_again(astuner: Astuner, judged: Path) -> None:
    command = ("rescore", judged, "--judge", "other.py:odd", "--set", "test", "--step", "2")
    found = json.loads(astuner(*command, "--json").out)
    assert (found["rollouts"], found["groups"]) == (16, 4)
    assert {one["step"] for one in found["moved"]} == {2}


def test_a_judge_that_fails_everywhere_ends_with_its_reason(astuner: Astuner, judged: Path) -> None:
    ended = astuner("rescore", judged, "--judge", "other.py:broken")
    assert ended.code == 1
    assert "failed on each of 16 rollouts (judge): ValueError: no such field" in " ".join(
        ended.err.split()
    )


def test_a_judge_may_ask_the_runs_auxiliary_models(
    astuner: Astuner, judged: Path, tiny_model: Path
) -> None:
    config = judged / "config.yaml"
    critic = f"[{{name: critic, model_path: {tiny_model}, max_response_tokens: 4}}]"
    text = config.read_text()
    assert "auxiliary_models: []" in text
    config.write_text(text.replace("auxiliary_models: []", f"auxiliary_models: {critic}"))
    ended = astuner("rescore", judged, "--judge", "other.py:asks", "--step", "1")
    assert ended.code == 0, ended.err
    assert ended.out.count("asked ChatResponse") == 8


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--judge", "other.py:none"), "There is no function 'none'"),
        (("--judge", "gone.py:judge"), "There is no file 'gone.py'"),
        (("--judge", "other.py:plain"), "is not async"),
        (("--judge", "other.py:odd", "--step", "9"), "has no rollouts of training at step 9"),
        (("--judge", "other.py:odd", "--set", "x"), "has no rollouts of the set 'x'"),
    ],
)
def test_bad_input_is_a_sentence(
    astuner: Astuner, judged: Path, given: tuple[str, ...], says: str
) -> None:
    ended = astuner("rescore", judged, *given)
    assert ended.code == 2
    assert says in " ".join(ended.err.split())
