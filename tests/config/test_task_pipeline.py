"""Data-Juicer's work on tasks is not done here: what it wrote is read, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentscope_tuner.build.data import build_taskset
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.errors import InputError

PIPELINE = {
    "operators": [{"name": "llm_difficulty_score_filter", "args": {"min_score": 0.5}}],
    "inputs": ["raw/tasks.jsonl"],
    "target_fields": ["question"],
}


def configured(path: str, **pipeline: object) -> Config:
    return resolve(
        overrides={
            "model.model_path": "m",
            "buffer.explorer_input.taskset.path": path,
            "data_processor.task_pipeline": PIPELINE | pipeline,
            "service.data_juicer.auto_start": True,
        }
    )


def test_what_it_wrote_is_the_dataset(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / "train.jsonl").write_text('{"question": "1 + 1"}\n')
    config = configured(str(output))
    assert build_taskset(config).samples[0] == {"question": "1 + 1"}
    (notice,) = notices(config)
    for name in ("operators.0.name", "inputs", "target_fields"):
        assert f"data_processor.task_pipeline.{name}" in notice
    assert "service.data_juicer.auto_start" in notice


def test_a_run_cannot_begin_before_it_was_written(tmp_path: Path) -> None:
    config = configured(str(tmp_path / "output"))
    with pytest.raises(InputError, match=r"no dataset at .*output yet: run the operators"):
        build_taskset(config)


def test_what_it_reads_is_not_learnt_from_as_it_is() -> None:
    with pytest.raises(InputError, match=r"raw/tasks\.jsonl is not what .* makes"):
        configured("./raw/tasks.jsonl")
    with pytest.raises(InputError, match=r"names no inputs: run the operators .* beforehand"):
        configured("output", inputs=[])
    assert configured("raw/tasks.jsonl", operators=[]).data_processor.task_pipeline.inputs


def test_its_operators_on_rollouts_are_refused_by_name() -> None:
    operators = [{"name": "data_juicer", "args": {"config_path": "recipe.yaml"}}]
    with pytest.raises(InputError, match=r"operators\.0\.name .* data_juicer is not served"):
        resolve(
            overrides={
                "model.model_path": "m",
                "buffer.explorer_input.taskset.path": "d",
                "data_processor.experience_pipeline.operators": operators,
            }
        )
