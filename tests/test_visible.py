"""No text of a model, a task, an exception or a name commands the terminal."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from agentscope_tuner.cli.runs import runs_table
from agentscope_tuner.cli.shown_rollout import show_rollout
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.summary import RunSummary
from agentscope_tuner.runs.listing import RunRow
from agentscope_tuner.trajectory import Call, Rollout, RolloutError, Sampled, Segment, Trajectory
from agentscope_tuner.visible import visible

CORPUS = {
    "title": "\x1b]0;owned\x07",
    "title ended by ST": "\x1b]2;owned\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "link": "\x1b]8;;https://example.org\x1b\\here\x1b]8;;\x1b\\",
    "clear": "\x1b[2J\x1b[H",
    "cursor": "\x1b[999D\x1b[10A",
    "colour": "\x1b[31m",
    "alternate screen": "\x1b[?1049h",
    "device query": "\x1b[6n",
    "reset": "\x1bc",
    "8-bit CSI": "\x9b2J",
    "8-bit OSC": "\x9d0;owned\x9c",
    "device control": "\x1bP$q\x1b\\",
    "carriage return": "reward 0.0\rreward 1.0",
    "backspace": "rm\x08\x08ls",
    "bell": "\x07",
    "shift out": "\x0e",
    "null": "\x00",
    "delete": "\x7f",
    "direction": "\u202eevil\u2066",
    "line separator": "\u2028",
    "half a character": "\ud83d",
}
HOSTILE = "".join(CORPUS.values())


def is_harmless(output: str) -> bool:
    """Whether nothing but characters, spaces and line feeds reaches the terminal."""
    return all(character == "\n" or character.isprintable() for character in output)


def shown() -> Console:
    return Console(file=io.StringIO(), width=200)


def output_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
def test_every_command_is_written_out(text: str) -> None:
    assert is_harmless(visible(text))
    assert visible(text) != text
    visible(text).encode()


def test_what_is_only_to_be_read_stays_as_it_is() -> None:
    text = "tabs\tand\nlines, Grüße, 你好, عربي, 👩, \\x1b written out before"
    assert visible(text) == text


class Spelling:
    """A tokenizer whose tokens are Unicode characters."""

    def decode(self, token_ids: list[int]) -> str:
        return "".join(map(chr, token_ids))


def hostile_rollout(error: RolloutError | None) -> Rollout:
    tokens = [ord(character) for character in HOSTILE]
    given = Segment(None, tokens)
    sampled = Segment(0, tokens, Sampled([0.0] * len(tokens), [False] * len(tokens), "policy", 0))
    trajectory = Trajectory([given, sampled])
    call = Call(
        segment=1,
        messages=[{"role": "user" + HOSTILE, "content": HOSTILE}],
        response={
            "role": "assistant",
            "content": HOSTILE,
            "reasoning_content": HOSTILE,
            "tool_calls": [{"function": {"name": HOSTILE, "arguments": HOSTILE}}],
        },
        tools=[{"function": {"name": HOSTILE}}],
        finish_reason="stop",
        seconds=1.0,
    )
    trajectory.calls.append(call)
    return Rollout(
        "r", {}, trajectory, reward=None if error else 1.0, response=HOSTILE,
        metrics={f"workflow/{HOSTILE}": 1.0}, error=error,
    )  # fmt: skip


def test_check_shows_a_rollout_without_obeying_it() -> None:
    failed = RolloutError("workflow", HOSTILE, HOSTILE)
    for error in (None, failed):
        console = shown()
        show_rollout(hostile_rollout(error), Spelling(), console)
        assert is_harmless(output_of(console))
        assert "␛]0;owned␇" in output_of(console)


def test_the_console_of_a_run_obeys_no_name() -> None:
    console = shown()
    monitor = ConsoleMonitor(console)
    monitor.start(1, Path("runs") / HOSTILE.replace("/", "").replace("\x00", ""))
    monitor.note(HOSTILE)
    monitor.log({f"eval/{HOSTILE}/reward/mean": 1.0}, 0)
    monitor.finish(RunSummary({HOSTILE: (0.0, 1.0)}, {HOSTILE: Path("x")}))
    assert is_harmless(output_of(console))


def test_the_table_of_runs_obeys_no_name() -> None:
    console = shown()
    row = RunRow(HOSTILE, "finished", 1, 1, {HOSTILE: (0.5, 1)}, None, datetime(2026, 1, 1), Path())
    console.print(runs_table([row]))
    assert is_harmless(output_of(console))
