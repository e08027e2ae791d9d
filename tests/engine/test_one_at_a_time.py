"""One run a process at a time, and its signals wherever it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    InputError,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)


def test_a_second_tune_beside_the_first_is_refused_in_one_sentence(
    tiny_model: Path, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refusals: list[str] = []

    def tuned() -> bool:
        return tune(
            workflow_func=ask,
            model=TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=4),
            train_dataset=DatasetConfig(path=str(sums), total_steps=1),
            algorithm=AlgorithmConfig(group_size=2, batch_size=1),
            monitor_type="none",
        ).finished

    async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        await model([{"role": "user", "content": task["question"]}])
        try:
            tuned()  # on the event loop of the first
        except InputError as refusal:
            refusals.append(str(refusal))
        with pytest.raises(InputError, match="running in this process already"):
            await asyncio.to_thread(tuned)
        return WorkflowOutput(reward=1.0)

    assert tuned()
    assert len(set(refusals)) == 1
    assert tuned(), "a run that has returned stands in nobody's way"
