"""Batches of tasks, how long a run is, and a cursor that goes on exactly where it was."""

from __future__ import annotations

import json
from collections import Counter

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentscope_tuner.errors import InputError
from agentscope_tuner.tasks import SELECTORS, Taskset, make_selector, make_tasks


def samples(size: int) -> list[dict]:
    return [{"n": n, "weak": n / size, "strong": min(1.0, 2 * n / size)} for n in range(size)]


def taskset(size: int, batch_size: int, kind: str = "shuffle", seed: int = 0, **length) -> Taskset:
    keys = ["weak", "strong"] if kind in ("offline_easy2hard", "difficulty_based") else []
    rows = samples(size)
    selector = make_selector(rows, kind, seed=seed, feature_keys=keys)
    return Taskset(rows, batch_size, selector=selector, **length)


def numbers(batch: list[dict]) -> list[int]:
    return [task["n"] for task in batch]


def run(tasks: Taskset) -> list[list[int]]:
    batches = []
    while (batch := tasks.next_batch()).tasks:
        batches.append(numbers(batch.tasks))
        tasks.update(batch.indices, [n % 3 / 2 for n in batches[-1]])
    return batches


def test_an_epoch_meets_every_sample_once_and_a_batch_goes_on_into_the_next_epoch():
    batches = run(taskset(5, 3, "sequential", total_epochs=2))
    assert batches == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4]]


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 20),
    batch_size=st.integers(1, 30),
    epochs=st.integers(1, 4),
    kind=st.sampled_from(["sequential", "shuffle", "offline_easy2hard"]),
)
def test_nothing_is_dropped_and_nothing_comes_twice_too_often(size, batch_size, epochs, kind):
    tasks = taskset(size, batch_size, kind, total_epochs=epochs)
    batches = run(tasks)
    counts = Counter(n for batch in batches for n in batch)
    assert counts == dict.fromkeys(range(size), epochs)
    assert len(batches) == tasks.total_steps
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_total_steps_overrides_epochs_and_every_batch_is_full():
    tasks = taskset(5, 4, total_epochs=1, total_steps=7)
    assert tasks.total_steps == 7
    assert [len(batch) for batch in run(tasks)] == [4] * 7


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(sorted(SELECTORS.own)),
    size=st.integers(1, 15),
    batch_size=st.integers(1, 20),
    stop=st.integers(0, 12),
    seed=st.integers(0, 3),
)
def test_a_run_resumed_anywhere_goes_on_in_the_same_order(kind, size, batch_size, stop, seed):
    arguments = {"kind": kind, "seed": seed, "total_steps": 12}
    whole = run(taskset(size, batch_size, **arguments))

    first = taskset(size, batch_size, **arguments)
    for _ in range(stop):
        batch = first.next_batch()
        first.update(batch.indices, [n % 3 / 2 for n in numbers(batch.tasks)])
    state = json.loads(json.dumps(first.state_dict()))
    second = taskset(size, batch_size, **arguments)
    second.load_state_dict(state)
    assert run(second) == whole[stop:]


def test_resuming_over_another_dataset_is_refused():
    state = taskset(5, 2).state_dict()
    with pytest.raises(InputError, match="begun with 5 samples and the dataset has 6"):
        taskset(6, 2).load_state_dict(state)


def test_workflow_args_reach_every_task():
    rows = samples(2)
    args = {"max_turns": [3]}
    tasks = Taskset(rows, 2, selector=make_selector(rows, "sequential"), workflow_args=args)
    first, second = tasks.next_batch().tasks
    assert first["workflow_args"] == {"max_turns": [3]}
    first["workflow_args"]["max_turns"].append(4)
    assert second["workflow_args"] == args == {"max_turns": [3]}


def test_workflow_args_never_hide_a_field_of_the_dataset():
    rows = [{"workflow_args": 1}]
    tasks = Taskset(rows, 1, selector=make_selector(rows), workflow_args={"a": 1})
    with pytest.raises(InputError, match="field 'workflow_args'"):
        tasks.next_batch()


def test_tasks_are_plain_dictionaries_of_plain_values():
    rows = datasets.Dataset.from_list([{"q": "?", "n": 1, "more": {"xs": [1.0]}}])
    (task,) = make_tasks(rows, [0])
    assert type(task) is dict
    assert json.loads(json.dumps(task)) == {"q": "?", "n": 1, "more": {"xs": [1.0]}}


def test_groups_that_failed_whole_tell_the_selector_nothing():
    tasks = taskset(4, 4, "difficulty_based", total_steps=2)
    batch = tasks.next_batch()
    before = tasks.selector.state_dict()
    tasks.update(batch.indices, [None] * 4)
    assert tasks.selector.state_dict() == before


def test_the_selector_hears_the_reward_of_each_sample():
    tasks = taskset(2, 2, "difficulty_based", total_steps=1)
    tasks.update([0, 1], [0.5, 1.0])
    estimator = tasks.selector.estimator
    # lamb 0.2 and m 16: 0.8 + 0.2 + 16 times the pass rate
    assert estimator.alpha_S.tolist() == pytest.approx([1 + 8, 1 + 16])


def test_a_changed_dataset_of_equal_length_is_refused() -> None:
    state = taskset(8, 2).state_dict()
    changed = taskset(8, 2)
    changed.samples[5]["weak"] = -1.0
    with pytest.raises(InputError, match="not the same ones"):
        changed.load_state_dict(state)
    taskset(8, 2).load_state_dict(state)
