"""What `astuner check` says of a rollout is what the learner would make of it."""

import io

import numpy as np
from rich.console import Console
from rich.text import Text

from agentscope_tuner.cli.shown_rollout import show_rollout
from agentscope_tuner.trajectory import (
    AuxiliaryCall,
    Rollout,
    RolloutError,
    Sampled,
    Segment,
    Trajectory,
)

COLOURS = {2: "green", 3: "yellow"}


class Letters:
    """Token i is the i-th capital letter."""

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(ord("A") + token) for token in ids)


def shown(sampled: Sampled) -> tuple[str, dict[str, str]]:
    """The text, and the background of each sampled letter."""
    trajectory = Trajectory([Segment(None, [0, 1]), Segment(0, [2, 3, 4], sampled)])
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system="standard")
    show_rollout(Rollout("r", {}, trajectory, reward=1.0), Letters(), console)
    text = Text.from_ansi(out.getvalue())
    start = text.plain.index("⟦CDE⟧") + 1
    return text.plain, {
        text.plain[at]: COLOURS[text.get_style_at_offset(console, at).bgcolor.number]
        for at in range(start, start + 3)
    }


def test_check_tells_trained_tokens_from_those_that_were_the_only_ones_possible() -> None:
    sampled = Sampled([-1.0, 0.0, -1.0], [False, True, False], "m", 0)
    sampled.supports = {1: np.array([3], np.int32)}
    text, colours = shown(sampled)
    assert colours == {"C": "green", "D": "yellow", "E": "green"}
    assert "tokens sampled 3, trained on 2" in text


def test_check_does_not_call_greedy_tokens_trained_on() -> None:
    text, colours = shown(Sampled([0.0] * 3, [True] * 3, "m", 0, temperature=0.0))
    assert set(colours.values()) == {"yellow"}
    assert "trained on 0" in text


def test_what_operators_made_of_a_rollout_is_told() -> None:
    rollout = Rollout("r", {}, Trajectory(), reward=1.0, advantage=0.5)
    rollout.shaped_reward, rollout.left_out = 0.25, "too_long"
    out = io.StringIO()
    show_rollout(rollout, Letters(), Console(file=out))
    assert (
        "reward 1\nadvantage 0.500\nreward learnt 0.25\nleft out by too_long: not learnt from"
        in out.getvalue()
    )


def test_what_was_said_to_other_models_and_why_the_judge_decided_is_told() -> None:
    asked = [{"role": "user", "content": "Is it right? \x1b[2J"}]
    answer = {"role": "assistant", "content": "Yes."}
    call = AuxiliaryCall("critic", asked, None, answer, "stop", 0.25, 1.0)
    rollout = Rollout("r", {}, Trajectory(), reward=1.0, explanation="The [sum] is right.")
    rollout.auxiliary_calls = [call]
    out = io.StringIO()
    show_rollout(rollout, Letters(), Console(file=out))
    assert "critic (stop, 0.25 s)" in out.getvalue()
    assert "user: Is it right? ␛[2J" in out.getvalue()
    assert "assistant: Yes." in out.getvalue()
    assert "reward 1\nthe judge: The [sum] is right." in out.getvalue()


def test_a_failure_without_a_traceback_says_why_all_the_same() -> None:
    late = RolloutError("timeout", "The rollout was not done after 5 s.")
    out = io.StringIO()
    show_rollout(Rollout("r", {}, Trajectory(), error=late), Letters(), Console(file=out))
    assert "failed (timeout): The rollout was not done after 5 s." in out.getvalue()
