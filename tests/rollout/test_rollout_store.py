"""Rollouts come back from disk as they were written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout import read_rollouts, rollouts_path, write_rollouts
from agentscope_tuner.trajectory import (
    Call,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)

texts = st.text(max_size=20)
floats = st.floats(allow_nan=False, width=32)
sampled = st.builds(
    Sampled,
    st.lists(floats),
    st.lists(st.booleans()),
    texts,
    st.integers(0, 9),
    floats,
    version_changes=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=2),
)
segments = st.builds(
    Segment, st.none() | st.integers(0, 3), st.lists(st.integers(0, 10**6)), st.none() | sampled
)
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
)
trajectories = st.builds(
    Trajectory, st.lists(segments, max_size=3), st.lists(calls, max_size=2), st.integers(0, 3)
)
rollouts = st.builds(
    Rollout,
    texts,
    st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3),
    trajectories,
    reward=st.none() | floats,
    metrics=st.dictionaries(texts, floats, max_size=2),
    response=texts,
    error=st.none() | st.builds(RolloutError, st.sampled_from(["judge", "timeout"]), texts, texts),
    attempts=st.integers(1, 4),
    seconds=floats,
    advantage=st.none() | floats,
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
