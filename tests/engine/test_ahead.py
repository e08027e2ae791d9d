"""Rollouts that are drawn ahead of the learner, by older weights: in turns or at the same time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TuneResult, TunerModelConfig, tune
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.engine.schedule import Schedule
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from agentscope_tuner.tuning import Invocation, invoked_as
from attack.program import ask, write_data
from attack.sameness import differences

STEPS = 5
Run = Callable[..., TuneResult]


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    data = str(write_data(tmp_path / "data"))

    def tuned(name: str, *settings: str, **arguments: str) -> TuneResult:
        with invoked_as(Invocation(settings=settings)):
            return tune(
                workflow_func=ask,
                model=TunerModelConfig(model_path=str(tiny_model), max_model_len=256, max_tokens=8),
                train_dataset=DatasetConfig(path=data, split="train", total_steps=STEPS),
                eval_dataset=DatasetConfig(path=data, split="test"),
                algorithm=AlgorithmConfig(
                    group_size=3,
                    batch_size=2,
                    learning_rate=1e-3,
                    eval_interval_steps=3,
                    save_interval_steps=3,
                ),
                experiment_name=name,
                **arguments,
            )

    return tuned


def versions(run_directory: Path, step: int) -> set[int]:
    """Of the weights that drew the tokens of a step."""
    segments = (
        segment.sampled
        for rollout in read_rollouts(rollouts_path(run_directory, step))
        for segment in rollout.trajectory.sampled_segments()
    )
    return {version for sampled in segments if sampled for version in sampled.token_versions()}


@pytest.mark.parametrize(("interval", "offset"), [(1, 1), (2, 1)])
def test_in_turns_and_at_the_same_time_the_same_is_drawn_and_learnt(
    run: Run, interval: int, offset: int
) -> None:
    """Although evaluations and checkpoints fall into the middle of an interval."""
    shape = (
        *("deterministic=true", "model.top_p=0.9"),
        *(f"synchronizer.sync_interval={interval}", f"synchronizer.sync_offset={offset}"),
        "buffer.explorer_input.taskset.data_selector.selector_type=difficulty_based",
        "buffer.explorer_input.taskset.data_selector.feature_keys=[weak, strong]",
    )
    overlapped = run("overlapped", *shape).run_directory
    in_turns = run("turns", *shape, "synchronizer.overlap=false").run_directory
    assert differences(overlapped, in_turns) == {}

    schedule = Schedule(interval, offset)
    records = {
        record["step"]: record
        for record in read_metrics(overlapped / "metrics.jsonl")
        if "policy/lag" in record
    }
    for step in range(1, STEPS + 1):
        assert versions(overlapped, step) == {schedule.version(step)}
        assert records[step]["policy/lag"] == step - 1 - schedule.version(step)
    for step in (0, 3, STEPS):
        held_out = read_rollouts(rollouts_path(overlapped, step, "test"))
        drawn_by = {s.sampled.version for r in held_out for s in r.trajectory.sampled_segments()}
        assert drawn_by == {step}


@pytest.mark.parametrize("style", ["trainer_driven", "dynamic_by_explorer", "FULLY_ASYNC"])
def test_where_clocks_decide_no_token_is_older_than_max_staleness(run: Run, style: str) -> None:
    staleness = "algorithm.sample_strategy_args.max_staleness=2"
    result = run(
        "clock",
        *(f"synchronizer.sync_style={style}", "synchronizer.sync_interval=2", staleness),
        "algorithm.sample_strategy=staleness_control",
    )
    assert result.finished
    for step in range(1, STEPS + 1):
        assert all(step - 3 <= version < step for version in versions(result.run_directory, step))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ("synchronizer.sync_style=fully_async", "deterministic=true"),
            "With sync_style fully_async it depends on speeds which weights draw a rollout",
        ),
        (
            ("synchronizer.sync_style=trainer_driven", "synchronizer.overlap=false"),
            "leave synchronizer.overlap out",
        ),
        (
            (
                "algorithm.sample_strategy=staleness_control",
                "algorithm.sample_strategy_args.max_staleness=1",
            ),
            "let rollouts be 2 steps old, and max_staleness allows 1",
        ),
        (("algorithm.sample_strategy=staleness_control",), "goes with"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    run: Run, settings: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        run("refused", "synchronizer.sync_interval=3", *settings)


def test_a_checkpoint_holds_what_older_weights_have_drawn(run: Run) -> None:
    result = run("held", "synchronizer.sync_offset=1")
    checkpoint = CheckpointStore(result.run_directory).steps()[3]
    from agentscope_tuner.checkpoint.state import load_state

    state = load_state(checkpoint / "tuner_state" / "loop.pt")["loop"]
    assert [ahead["step"] for ahead in state["ahead"]] == [4]
    assert state["ahead"][0]["groups"]
