"""`astuner show`: rollouts of a run in a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.cli.app import app
from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import (
    Call,
    LogLine,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)


def rollout(number: int, reward: float | None) -> Rollout:
    sampled = Sampled([-0.1, -0.2], [False, False], "policy", 0)
    answer = {"role": "assistant", "content": f"answer {number} \x1b[2J"}
    call = Call(1, [{"role": "user", "content": "?"}], None, answer, "stop")
    failure = None if reward is not None else RolloutError("workflow", "no", "ValueError: no")
    return Rollout(
        f"step1-0-{number}",
        {"q": 1},
        Trajectory([Segment(None, [1, 2]), Segment(0, [3, 4], sampled)], [call]),
        reward=reward,
        error=failure,
        explanation="because \x1b]0;owned\x07",
        log=[LogLine(1.0, "INFO", "said \u202e")],
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "P" / "one"
    directory.mkdir(parents=True)
    RunState("finished", 1, 1).save(directory)
    (directory / "config.yaml").write_text(json.dumps({"name": "one"}))
    writer = RolloutWriter(directory)
    rewards = (0.5, 1.0, None, 0.0)
    rollouts = [rollout(number, reward) for number, reward in enumerate(rewards)]
    writer.write(1, [RolloutGroup("step1-0", {"q": 1}, rollouts)], None)
    writer.close()
    return directory


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["show", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def order(output: str) -> list[str]:
    return [name for name in output.split() if name.startswith("step1-0-")]


def test_the_worst_come_first_and_a_failure_is_worse_than_any_reward(run: Path) -> None:
    assert order(shown(str(run), "--step", "1", "--worst", "2", "--best", "1")) == [
        "step1-0-2",
        "step1-0-3",
        "step1-0-1",
    ]
    assert order(shown(str(run))) == ["step1-0-2"]


def test_a_filter_chooses_as_in_the_viewer(run: Path) -> None:
    found = order(shown(str(run), "--filter", 'reward>0.2 "answer"', "--worst", "9"))
    assert found == ["step1-0-0", "step1-0-1"]


def test_what_a_terminal_would_obey_is_visible(run: Path) -> None:
    output = shown(str(run), "--best", "1")
    assert "answer 1 ␛[2J" in output
    assert "the judge: because ␛]0;owned␇" in output
    assert "INFO: said ⟨U+202E⟩" in output
    assert all(c == "\n" or c.isprintable() for c in output)


def test_colours_are_the_environments_choice(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*4[0-9]m")  # a background
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert not coloured.search(shown(str(run)))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert coloured.search(shown(str(run), "--best", "1"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.search(shown(str(run), "--best", "1"))


def test_rollouts_that_are_not_there_are_told_in_a_sentence(run: Path) -> None:
    with pytest.raises(InputError, match=r"has no such rollouts \(step 7"):
        shown(str(run), "--step", "7")
    with pytest.raises(InputError, match="There are no runs"):
        shown(str(run.parent / "one" / "rollouts"))
