"""A fault of our own ends a run loudly, and costs no step."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TuneResult, TunerModelConfig, tune
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.engine.local import LocalRollouts
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.tuning import Invocation, invoked_as
from attack.program import ask


def run(model: Path, data: Path, *settings: str) -> TuneResult:
    with invoked_as(Invocation(settings=settings)):
        return tune(
            workflow_func=ask,
            model=TunerModelConfig(model_path=str(model), max_model_len=128, max_tokens=4),
            train_dataset=DatasetConfig(path=str(data), split="train", total_steps=3),
            algorithm=AlgorithmConfig(group_size=2, batch_size=2, save_interval_steps=100),
            experiment_name="run",
        )


@pytest.mark.parametrize("settings", [(), ("synchronizer.sync_offset=1",)])
def test_a_fault_in_the_third_step_is_raised_when_the_second_is_saved(
    settings: tuple[str, ...],
    tiny_model: Path,
    sums: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the third step's rollouts are drawn while the second is learnt."""
    monkeypatch.chdir(tmp_path)
    rollout = LocalRollouts.rollout

    async def failing(self, tasks, **options):
        if options["label"] == "step3":
            raise AssertionError("the recorder lost a token")
        return await rollout(self, tasks, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalRollouts, "rollout", failing)
        with pytest.raises(AssertionError, match="lost a token") as had:
            run(tiny_model, sums, *settings)
    assert had.value.__notes__ == ["Step 2, the last, is saved: the run can be resumed."]
    directory = tmp_path / "checkpoints" / "AgentScope" / "run"
    assert RunState.load(directory) == RunState("failed", 2, 3)
    assert (directory / "global_step_2").is_dir()
    steps = [record["step"] for record in read_metrics(directory / "metrics.jsonl")]
    assert steps == [1, 2]

    resumed = run(tiny_model, sums, *settings)
    assert resumed.finished
    assert RunState.load(directory) == RunState("finished", 3, 3)
