"""The index says what is in the files that are there, whatever its writer died of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from test_rollout_files import OLD_LINE, a_rollout

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.index import index_path, read_lines, recover_index, task_digest
from agentscope_tuner.runs.rollouts import Frame, read_frame, rollouts_path, write_rollouts
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import (
    Call,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)


def a_trajectory() -> Trajectory:
    sampled = Sampled([-0.1] * 3, [False] * 3, "policy", 0)
    call = Call(1, [], None, {"content": "x"}, "length")
    return Trajectory([Segment(None, [1, 2]), Segment(0, [3, 4, 5], sampled)], [call])


def groups(label: str) -> list[RolloutGroup]:
    good = a_rollout(trajectory=a_trajectory(), reward=1.0, advantage=0.5, task={"q": 1})
    bad = a_rollout(error=RolloutError("judge", "no"), task={"q": 2})
    return [
        RolloutGroup(
            f"{label}-{n}", {}, [replace(rollout, id=f"{label}-{n}-{i}") for i in range(2)]
        )
        for n, rollout in enumerate((good, bad))
    ]


def written(directory: Path, steps: int, resumed: int | None = None) -> Path:
    writer = RolloutWriter(directory)
    writer.begin(resumed)
    for step in range(1, steps + 1):
        writer.write(step, groups(f"step{step}"), None)
        writer.write(step, groups(f"eval-test-step{step}"), "test")
    writer.close()
    return index_path(directory)


def ids(index: Path) -> list[str]:
    return [line["id"] for line in read_lines(index)]


def test_a_line_has_what_a_list_shows_and_where_the_rollout_is(tmp_path):
    lines = list(read_lines(written(tmp_path, 1)))
    assert len(lines) == 8
    assert lines[1] == {
        "file": "step_1.jsonl.zst",
        "offset": 0,
        "length": lines[0]["length"],
        "line": 1,
        "step": 1,
        "set": None,
        "group": "step1-0",
        "id": "step1-0-1",
        "task": task_digest({"q": 1}),
        "about": "",
        "reward": 1.0,
        "advantage": 0.5,
        "error": None,
        "turns": 1,
        "prompt_tokens": 2,
        "tokens": 3,
        "branches": 1,
        "truncated": True,
        "left_out": None,
        "attempts": 1,
        "began": 0.0,
        "seconds": 0.0,
        "judge_seconds": 0.0,
    }
    assert lines[2]["error"] == "judge"
    assert lines[4]["set"] == "test"
    for line in lines:
        path = tmp_path / "rollouts" / line["file"]
        found = read_frame(path, Frame(line["offset"], line["length"]))[line["line"]]
        assert found["id"] == line["id"]


def test_tasks_are_the_same_whatever_the_order_of_their_keys():
    assert task_digest({"a": 1, "b": [2]}) == task_digest({"b": [2], "a": 1})
    assert task_digest({"a": 1}) != task_digest({"a": 2})


def test_a_run_that_goes_on_forgets_what_lies_behind_its_checkpoint(tmp_path):
    index = written(tmp_path, 3)
    RolloutWriter(tmp_path).begin(1)
    assert {line["step"] for line in read_lines(index)} == {1}
    assert sorted(path.name for path in index.parent.iterdir()) == [
        "eval_test_1.jsonl.zst",
        "index.jsonl",
        "step_1.jsonl.zst",
    ]


def test_a_run_that_begins_again_forgets_everything(tmp_path):
    index = written(tmp_path, 2)
    RolloutWriter(tmp_path).begin(None)
    assert list(index.parent.iterdir()) == []


def cut_line(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-20])


def lose_last_file(index: Path) -> None:
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if '"eval_test_2' not in line))


def lose_index(index: Path) -> None:
    index.unlink()


def spoil_index(index: Path) -> None:
    index.write_bytes(b"\x00" * 100 + b"\n")


def leave_half_a_file(index: Path) -> None:
    (index.parent / ".step_3.jsonl.zst.tmp").write_bytes(b"half")


@pytest.mark.parametrize("damage", [lose_last_file, lose_index, spoil_index, leave_half_a_file])
def test_whatever_a_killed_writer_left_the_index_is_whole_when_the_run_goes_on(tmp_path, damage):
    index = written(tmp_path, 2)
    before = sorted(map(json.dumps, read_lines(index)))
    damage(index)
    RolloutWriter(tmp_path).begin(2)
    assert sorted(map(json.dumps, read_lines(index))) == before
    assert not list(index.parent.glob(".*"))


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    index = written(tmp_path, 1)
    before = ids(index)
    cut_line(index)
    assert ids(index) == before[:-1]


def test_a_run_of_the_first_format_goes_on_with_an_index(tmp_path):
    path = rollouts_path(tmp_path, 1)
    path.parent.mkdir()
    with zstandard.open(path, "wt") as file:
        for n in range(3):
            line = {**OLD_LINE, "id": f"step1-{n}-0", "group": f"step1-{n}"}
            file.write(json.dumps(line) + "\n")
    recover_index(tmp_path)
    lines = list(read_lines(index_path(tmp_path)))
    assert [(line["group"], line["line"], line["tokens"]) for line in lines] == [
        ("step1-0", 0, 2),
        ("step1-1", 1, 2),
        ("step1-2", 2, 2),
    ]


def test_what_cannot_be_written_stops_the_run_at_its_next_step(tmp_path):
    (tmp_path / "rollouts").write_text("in the way")
    writer = RolloutWriter(tmp_path)
    writer.write(1, groups("step1"), None)
    with pytest.raises(OSError, match="rollouts"):
        writer.write(2, groups("step2"), None)
    writer.close()


def test_an_index_of_a_newer_format_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "index.jsonl"
    path.write_text('{"format": 7}\n')
    with pytest.raises(
        InputError, match=r"^\S+ was written by a newer agentscope-tuner \(format 7"
    ):
        list(read_lines(path))


def test_a_write_that_failed_leaves_the_files_before_it(tmp_path):
    index = written(tmp_path, 1)
    before = sorted(path.name for path in index.parent.iterdir())
    with pytest.raises(AttributeError):
        write_rollouts(rollouts_path(tmp_path, 2), [*groups("step2"), None])  # type: ignore[list-item]
    RolloutWriter(tmp_path).begin(1)
    assert sorted(path.name for path in index.parent.iterdir()) == before
