"""Sampler and learner in different precision: what the learner makes of the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from agentscope.model import ChatModelBase

from agentscope_tuner import WorkflowOutput, tune


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    answer = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(response=None, reward=float(len(str(answer.content))))


def tuned(directory: Path, model: Path, data: Path, **sections: Any) -> dict[str, float]:
    """The metrics of one step of two updates."""
    tree = {
        "checkpoint_root_dir": str(directory / "runs"),
        "algorithm": {"repeat_times": 4, "optimizer": {"lr": 1e-3}},
        "model": {"model_path": str(model), "max_model_len": 128},
        "buffer": {
            "total_steps": 1,
            "batch_size": 2,
            "train_batch_size": 4,
            "explorer_input": {
                "taskset": {"path": str(data), "split": "train", "rollout_args": {"max_tokens": 8}}
            },
        },
        **sections,
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return tune(workflow_func=ask, config_path=str(path)).metrics


@pytest.mark.parametrize("sampling", ["bfloat16", "float16"])
def test_a_sampler_of_lower_precision_is_corrected_for(
    tmp_path: Path, tiny_model: Path, sums: Path, sampling: str
) -> None:
    metrics = tuned(
        tmp_path,
        tiny_model,
        sums,
        explorer={"rollout_model": {"dtype": sampling}},
        trainer={"dtype": "float32"} if sampling == "bfloat16" else {},  # float16 is not trained in
    )
    assert metrics["policy/corrected_fraction"] < 0.5
    assert 0 < metrics["policy/kl_sampler_learner"] < 0.1


def test_equal_precision_is_corrected_for_too(tmp_path: Path, tiny_model: Path, sums: Path) -> None:
    assert "policy/corrected_fraction" in tuned(tmp_path, tiny_model, sums)


def test_the_correction_can_be_left_out(tmp_path: Path, tiny_model: Path, sums: Path) -> None:
    metrics = tuned(
        tmp_path,
        tiny_model,
        sums,
        algorithm={"repeat_times": 4, "importance_correction": "none"},
    )
    assert "policy/corrected_fraction" not in metrics
