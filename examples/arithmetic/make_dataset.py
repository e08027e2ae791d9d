"""Write the example's tasks: sums and differences of two one-digit numbers.

The tasks come from reasoning-gym's `chain_sum` and are laid out as the guide has it, one JSON
object a line in `data/train.jsonl` and `data/test.jsonl`. The two splits differ in their seed.
"""

import json
from pathlib import Path

import reasoning_gym

DATA = Path(__file__).parent / "data"
SPLITS = {"train": (1, 512), "test": (1_000_000, 64)}  # name -> (seed, number of tasks)

if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for split, (seed, size) in SPLITS.items():
        tasks = reasoning_gym.create_dataset(
            "chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=1, seed=seed, size=size
        )
        lines = [json.dumps({"question": t["question"], "answer": t["answer"]}) for t in tasks]
        (DATA / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{DATA / split}.jsonl: {size} tasks, the first: {lines[0]}")
