"""What a run will take, worked out by hand from what two steps took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentscope_tuner.engine.plan import Measured, Plan, times

MEASURED = Measured(
    loading_s=20.0,
    first_step_s=12.0,
    step_s=10.0,
    phases_s={"rollout": 4.0, "judge": 1.0, "train": 5.0, "sync": 0.5},
    teaching=0.4,
    all_teach_s=8.0,
    save_s=3.0,
    rollouts=64,
    response_tokens=50.0,
    longest=2.0,
    peak_bytes=3.8e9,
    evaluation_bytes=0.2e9,
    checkpoint_bytes=500_000_000,
    rollout_bytes=1000.0,
)
PLAN = Plan(
    steps=100,
    evaluated=128,
    saves=4,
    kept=3,
    needs={"weights": 1e9, "optimizer": 2e9},
    with_adapters={"weights": 0.5e9},
    free_bytes=8e9,
    disk_free_bytes=2e9,
    device="cpu",
    keys={"buffer.batch_size": 8, "model.lora.rank": 0},
    measured=MEASURED,
)


def test_hours_are_loading_steps_evaluations_and_checkpoints() -> None:
    # 20 of loading, 2 of warming up, 100 x 10, 128 rollouts at 4 s for 64, 4 x 3.
    assert PLAN.hours * 3600 == pytest.approx(20 + 2 + 1000 + 8 + 12)


def test_at_most_every_group_teaches_and_answers_become_as_long_as_they_may() -> None:
    # A step is 1 of other things and twice 4 of rollouts and 8 of training.
    assert PLAN.hours_at_most * 3600 == pytest.approx(20 + 2 + 100 * 25 + 16 + 12)


def test_what_the_run_itself_needed_is_not_more_than_it_needs_at_most() -> None:
    quick = replace(PLAN, measured=replace(MEASURED, longest=1.0, all_teach_s=4.9))
    assert quick.hours_at_most == quick.hours


def test_disk_holds_the_checkpoints_that_stay_and_every_rollout() -> None:
    assert PLAN.disk_bytes == 3 * 500_000_000 + (100 * 64 + 128) * 1000


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"free_bytes": 3.9e9}, False),
        ({"disk_free_bytes": 1.5e9}, False),
        ({"measured": None}, True),  # 3 GB of models and 1 to work in
        ({"measured": None, "free_bytes": 3.9e9}, False),
    ],
)
def test_it_fits_if_there_is_memory_and_disk(change: dict, fits: bool) -> None:
    assert replace(PLAN, **change).fits is fits


def test_advice_names_the_key_and_what_it_takes() -> None:
    memory, time, disk = PLAN.advice()
    assert memory.startswith("memory: model.lora.rank=16 takes 1.50 GB")
    assert time == "time: train is 50% of a step; buffer.batch_size=4 takes about half of it"
    assert disk == ("disk: trainer.keep_last=1 keeps 0.50 GB of checkpoints in place of 1.50 GB")


def test_what_cannot_be_had_is_not_advised() -> None:
    least = replace(PLAN, keys={"buffer.batch_size": 1, "model.lora.rank": 8}, kept=1)
    assert least.advice() == []


def test_what_is_done_at_an_interval_is_done_after_the_last_step_too() -> None:
    assert [times(steps, 4) for steps in (1, 4, 5, 8)] == [1, 1, 2, 2]
