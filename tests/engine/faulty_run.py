"""A script for `astuner run`: one step whose tasks commit every fault of the corpus, and whose
tools block more threads than any pool of six has, while grammars are compiled."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, tune

sys.path.insert(0, str(Path(__file__).parent.parent / "rollout"))
import faults

GROUP = 2
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


async def workflow(task: dict[str, Any], model: Any) -> Any:
    if task["fault"] == faults.GOOD:
        schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
        await model([{"role": "user", "content": task["question"]}], response_format=schema)
    if task["fault"] == "blocks_a_thread_for_ever":
        for _ in range(32):
            blocked = asyncio.ensure_future(asyncio.to_thread(threading.Event().wait))
            blocked.add_done_callback(lambda future: None)
    return await faults.workflow(task, model)


async def judge(task: dict[str, Any], response: Any) -> Any:
    return await faults.judge(task, response)


if __name__ == "__main__":
    model_path, data = sys.argv[1:]
    tasks = len((Path(data) / "train.jsonl").read_text().splitlines())
    tune(
        workflow_func=workflow,
        judge_func=judge,
        model=TunerModelConfig(model_path=model_path, max_model_len=512, max_tokens=4),
        train_dataset=DatasetConfig(path=data, split="train", total_steps=1),
        algorithm=AlgorithmConfig(group_size=GROUP, batch_size=tasks),
        experiment_name="faulty",
    )
