"""One call a rollout, and a reward by chance, so that groups teach: tunes what is in `model`."""

from __future__ import annotations

import zlib
from typing import Any

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)


async def ask(task: dict[str, Any], model: Any) -> WorkflowOutput:
    """One question, one answer."""
    answer = await model([{"role": "user", "content": task["question"]}])
    texts = [block["text"] for block in answer.content if block["type"] == "text"]
    return WorkflowOutput(response="".join(texts))


async def judge(task: dict[str, Any], response: str) -> JudgeOutput:
    """0 or 1, the same for the same response."""
    return JudgeOutput(reward=float(zlib.crc32(response.encode()) % 2))


if __name__ == "__main__":
    questions = [{"question": f"Which number comes after {n}?"} for n in range(64)]
    tune(
        workflow_func=ask,
        judge_func=judge,
        model=TunerModelConfig(model_path="model", max_model_len=256, max_tokens=128),
        train_dataset=DatasetConfig.from_samples(questions, total_steps=2),
        algorithm=AlgorithmConfig(group_size=4, batch_size=4),
        project_name="tuning",
    )
