"""Write the example's tasks: sums and differences of two one-digit numbers.

The tasks come from reasoning-gym's `chain_sum` and are laid out as the guide has it, one JSON
object a line in `data/train.jsonl` and `data/test.jsonl`. No task of one split is in the other:
what rises on the held-out ones was learnt from others.
"""

import json
from pathlib import Path

import reasoning_gym

DATA = Path(__file__).parent / "data"
DRAWN = 4096  # enough that each of the 200 tasks of this kind comes up
HELD_OUT = 64

if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    drawn = reasoning_gym.create_dataset(
        "chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=1, seed=1, size=DRAWN
    )
    tasks = list({task["question"]: task["answer"] for task in drawn}.items())
    splits = {"train": tasks[HELD_OUT:], "test": tasks[:HELD_OUT]}
    for split, own in splits.items():
        lines = [json.dumps({"question": question, "answer": answer}) for question, answer in own]
        (DATA / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{DATA / split}.jsonl: {len(own)} tasks, the first: {lines[0]}")
