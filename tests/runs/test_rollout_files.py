"""Rollouts come back from disk as they were written."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.rollouts import (
    Frame,
    read_frame,
    read_rollouts,
    rollouts_path,
    step_of,
    write_rollouts,
)
from agentscope_tuner.trajectory import (
    AuxiliaryCall,
    Call,
    LogLine,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)

texts = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
floats = st.floats(allow_nan=False, width=32)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Given or sampled tokens, with as many numbers of each kind."""
    ids = draw(st.lists(st.integers(0, 10**6)))

    def each(values: st.SearchStrategy) -> st.SearchStrategy:
        return st.lists(values, min_size=len(ids), max_size=len(ids))

    sampled = st.builds(
        Sampled,
        each(floats),
        each(st.booleans()),
        texts,
        st.integers(0, 9),
        floats,
        columns=st.dictionaries(st.sampled_from(["learner", "entropy"]), each(floats)),
        version_changes=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=2),
    )
    return Segment(draw(st.none() | st.integers(0, 3)), ids, draw(st.none() | sampled))


messages = st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2)
calls = st.builds(
    Call,
    st.integers(0, 3),
    messages,
    st.none() | messages,
    st.dictionaries(texts, texts, max_size=2),
    st.sampled_from(["stop", "length"]),
    st.none() | texts,
    floats,
    floats,
)
auxiliary_calls = st.builds(
    AuxiliaryCall,
    texts,
    messages,
    st.none() | messages,
    st.dictionaries(texts, texts, max_size=2),
    st.sampled_from(["stop", "length"]),
    floats,
    floats,
)
trajectories = st.builds(
    Trajectory, st.lists(segments(), max_size=3), st.lists(calls, max_size=2), st.integers(0, 3)
)
rollouts = st.builds(
    Rollout,
    texts,
    st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3),
    trajectories,
    reward=st.none() | floats,
    metrics=st.dictionaries(texts, floats, max_size=2),
    response=texts,
    answer=st.none() | st.fixed_dictionaries({"value": texts | st.lists(st.integers())}),
    error=st.none() | st.builds(RolloutError, st.sampled_from(["judge", "timeout"]), texts, texts),
    attempts=st.integers(1, 4),
    seconds=floats,
    advantage=st.none() | floats,
    explanation=texts,
    began=floats,
    judge_seconds=floats,
    log=st.lists(st.builds(LogLine, floats, texts, texts), max_size=2),
    auxiliary_calls=st.lists(auxiliary_calls, max_size=1),
)


@settings(max_examples=50, deadline=None)
@given(rollouts=st.lists(rollouts, max_size=3))
def test_what_is_read_is_what_was_written(rollouts, tmp_path_factory):
    path = rollouts_path(tmp_path_factory.mktemp("run"), 12)
    write_rollouts(path, [RolloutGroup("g", {}, rollouts)])
    assert read_rollouts(path) == rollouts
    assert [file.name for file in path.parent.iterdir()] == ["step_12.jsonl.zst"]


def a_rollout(**changes: object) -> Rollout:
    return dataclasses.replace(Rollout("step1-0-0", {}, Trajectory()), **changes)


def test_a_line_names_its_group_and_reads_as_json(tmp_path):
    write_rollouts(tmp_path / "r", [RolloutGroup("step1-0", {}, [a_rollout(reward=0.5)])])
    line = json.loads(zstandard.open(tmp_path / "r", "rt").read())
    assert line["group"] == "step1-0"
    assert line["reward"] == 0.5


def test_the_sets_of_drawable_tokens_are_left_out(tmp_path):
    drawn = Sampled([-1.0], [False], "m", 0, supports={0: np.array([1, 2], np.int32)})
    rollout = a_rollout(trajectory=Trajectory([Segment(None, [1], drawn)]))
    write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [rollout])])
    (read,) = read_rollouts(tmp_path / "r")
    assert read.trajectory.segments[0].sampled == dataclasses.replace(drawn, supports={})


def test_values_that_json_does_not_know_are_kept_readable(tmp_path):
    rollout = a_rollout(task={"n": np.int64(3), "path": tmp_path}, reward=np.float32(0.5))
    write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [rollout])])
    (read,) = read_rollouts(tmp_path / "r")
    assert read.task == {"n": 3, "path": str(tmp_path)}
    assert read.reward == 0.5


def test_a_write_that_fails_leaves_the_file_before_it_whole(tmp_path):
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [a_rollout()])])
    broken = a_rollout(task={"x": Unprintable()})
    with pytest.raises(RuntimeError, match="no text"):
        write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [broken])])
    assert read_rollouts(tmp_path / "r") == [a_rollout()]


@pytest.mark.parametrize("damage", ["cut", "plain", "other"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "step_3.jsonl.zst"
    many = [a_rollout(id=str(i), response="x" * i) for i in range(2000)]
    write_rollouts(path, [RolloutGroup("g", {}, many)])
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "plain": b"not compressed",
            "other": zstandard.compress(b'{"a": 1}\n'),
        }[damage]
    )
    with pytest.raises(InputError, match=r"step_3.jsonl.zst is damaged"):
        read_rollouts(path)


def test_each_group_can_be_read_without_the_others(tmp_path):
    path = rollouts_path(tmp_path, 3)
    groups = [RolloutGroup(f"g{n}", {}, [a_rollout(id=f"g{n}-{i}") for i in "ab"]) for n in "123"]
    frames = write_rollouts(path, groups)
    assert [frame.offset for frame in frames] == [0, frames[0].length, sum_of(frames[:2])]
    assert path.stat().st_size == sum_of(frames)
    assert [line["id"] for line in read_frame(path, frames[1])] == ["g2-a", "g2-b"]
    assert len(read_rollouts(path)) == 6


def sum_of(frames: list[Frame]) -> int:
    return sum(frame.length for frame in frames)


def test_a_token_without_a_number_has_none_when_it_is_read(tmp_path):
    drawn = Sampled([-1.0, -2.0], [False, True], "m", 0, columns={"entropy": [math.nan, 0.5]})
    rollout = a_rollout(trajectory=Trajectory([Segment(None, [1, 2], drawn)]))
    write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [rollout])])
    (read,) = read_rollouts(tmp_path / "r")
    sampled = read.trajectory.segments[0].sampled
    assert math.isnan(sampled.columns["entropy"][0])
    assert sampled.columns["entropy"][1] == 0.5
    assert sampled.forced == [False, True]


def test_a_task_that_json_has_no_form_for_costs_no_rollout(tmp_path):
    knotted: dict = {"question": "?"}
    knotted["itself"] = knotted
    group = RolloutGroup("g", {}, [a_rollout(task=knotted), a_rollout(task={("a", 1): 2})])
    write_rollouts(tmp_path / "r", [group])
    first, second = read_rollouts(tmp_path / "r")
    assert "question" in first.task["as_text"]
    assert second.task == {"as_text": "{('a', 1): 2}"}


def test_nothing_half_written_stays_behind(tmp_path):
    with pytest.raises(AttributeError):
        write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [None])])
    assert list(tmp_path.iterdir()) == []


def test_sets_whose_names_no_file_could_have_keep_files_of_their_own(tmp_path):
    names = ["test", "a/b", "a_b", "..", "a:b", "x" * 300, "x" * 301]
    paths = [rollouts_path(tmp_path, 4, name) for name in names]
    assert len({path.name for path in paths}) == len(names)
    assert {path.parent for path in paths} == {tmp_path / "rollouts"}
    assert step_of(paths[0]) == (4, "test")
    assert step_of(rollouts_path(tmp_path, 4)) == (4, None)
    assert step_of(tmp_path / "index.jsonl") is None


OLD_LINE = {
    "group": "step1-0",
    "id": "step1-0-0",
    "task": {"q": 1},
    "reward": 0.5,
    "metrics": {},
    "response": "r",
    "error": None,
    "attempts": 1,
    "seconds": 2.0,
    "advantage": -1.0,
    "trajectory": {
        "segments": [
            {"parent": None, "token_ids": [1, 2], "sampled": None},
            {
                "parent": 0,
                "token_ids": [3, 4],
                "sampled": {
                    "logprobs": [-0.25, -0.5],
                    "forced": [False, True],
                    "model": "policy",
                    "version": 0,
                    "temperature": 1.0,
                },
            },
        ],
        "calls": [
            {
                "segment": 1,
                "messages": [],
                "tools": None,
                "response": {},
                "finish_reason": "stop",
                "branch": None,
                "seconds": 1.0,
            }
        ],
        "overflows": 0,
    },
}


def test_files_of_the_first_format_are_read(tmp_path):
    path = tmp_path / "step_1.jsonl.zst"
    with zstandard.open(path, "wt") as file:
        file.write(json.dumps(OLD_LINE) + "\n")
    (rollout,) = read_rollouts(path)
    assert rollout.advantage == -1.0
    sampled = rollout.trajectory.segments[1].sampled
    assert sampled == Sampled([-0.25, -0.5], [False, True], "policy", 0)
    assert rollout.log == []


def test_a_file_of_a_newer_format_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "step_1.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"format": 9}\n'))
    with pytest.raises(
        InputError, match=r"^\S+ was written by a newer agentscope-tuner \(format 9;"
    ):
        read_rollouts(path)


def test_spans_of_versions_are_kept_and_files_without_them_are_read(tmp_path):
    sampled = Sampled([-1.0] * 5, [False] * 5, "m", 3, version_changes=[(2, 4), (4, 6)])
    assert sampled.token_versions() == [3, 3, 4, 4, 6]
    rollout = a_rollout(trajectory=Trajectory([Segment(None, [1] * 5, sampled)]))
    write_rollouts(tmp_path / "r", [RolloutGroup("g", {}, [rollout])])
    assert read_rollouts(tmp_path / "r") == [rollout]
    line = json.loads(zstandard.open(tmp_path / "r", "rt").read())
    del line["trajectory"]["segments"][0]["sampled"]["version_changes"]
    with zstandard.open(tmp_path / "old", "wt") as file:
        file.write(json.dumps(line) + "\n")
    (old,) = read_rollouts(tmp_path / "old")
    assert old.trajectory.segments[0].sampled.token_versions() == [3] * 5


def test_a_group_whose_end_is_missing_is_told_from_an_empty_one(tmp_path):
    path = tmp_path / "step_1.jsonl.zst"
    content = zstandard.compress(b'{"format": 2}\n')
    path.write_bytes(content[:-4])
    with pytest.raises(InputError, match=r"^\S+ is damaged .* \(its end is missing\)"):
        read_frame(path, Frame(0, len(content)))
