"""Write the example's data: products of a three-digit and a two-digit number, none of them twice.

`data/tasks/` has what reinforcement learns from and what is held out, a question and its answer a
line. `data/demonstrations/` has the conversations of the warm-up in OpenAI's form: the calculator
is called, and what it returns is said.
"""

import json
import random
from pathlib import Path

from calculator import SYSTEM_PROMPT, make_toolkit, question

DATA = Path(__file__).parent / "data"
SEED = 1


def task(a: int, b: int) -> dict:
    return {"question": question(a, b), "answer": str(a * b)}


def demonstration(a: int, b: int) -> dict:
    call = {"name": "calculator", "arguments": json.dumps({"expression": f"{a} * {b}"})}
    return {
        "messages": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": question(a, b)},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call00001", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call00001", "content": str(a * b)},
            {"role": "assistant", "content": f"The answer is {a * b}."},
        ],
        "tools": make_toolkit().get_json_schemas(),
    }


FILES = {  # file -> (lines, how a line is made of two factors)
    "demonstrations/train": (96, demonstration),
    "tasks/train": (512, task),
    "tasks/test": (128, task),
}


if __name__ == "__main__":
    factors = [(a, b) for a in range(100, 1000) for b in range(10, 100)]
    random.Random(SEED).shuffle(factors)
    for name, (size, line_of) in FILES.items():
        lines = [json.dumps(line_of(a, b)) for a, b in factors[:size]]
        del factors[:size]
        path = DATA / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        print(f"{path}: {size} lines, the first: {lines[0]}")
