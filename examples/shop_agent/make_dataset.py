"""Write the example's data: orders of two items, no two twice, each in a shop with its own prices.

`data/tasks/` has what reinforcement learns from and what is held out, an order a line.
`data/demonstrations/` has the conversations of the warm-up in OpenAI's form: both prices are looked
up, the order is calculated, and the result is said.
"""

import itertools
import json
import random
from pathlib import Path

from shop import ITEMS, SYSTEM_PROMPT, compute, make_toolkit, question, sum_of_products

DATA = Path(__file__).parent / "data"
SEED = 1


def draw_task(items: tuple[str, str], draw: random.Random) -> dict:
    order = {item: draw.randint(2, 9) for item in items}
    prices = {item: draw.randint(100, 999) for item in items}
    answer = compute(sum_of_products(order, prices))
    return {"question": question(order), "order": order, "prices": prices, "answer": answer}


def demonstration(task: dict) -> dict:
    order, prices = task["order"], task["prices"]
    steps = [("price", {"item": item}, str(prices[item])) for item in order]
    steps.append(("calculate", {"expression": sum_of_products(order, prices)}, task["answer"]))
    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": task["question"]},
    ]
    for number, (name, arguments, result) in enumerate(steps):
        call = {"name": name, "arguments": json.dumps(arguments)}
        calls = [{"id": f"call{number}", "type": "function", "function": call}]
        messages += [
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"call{number}", "content": result},
        ]
    messages.append({"role": "assistant", "content": f"They cost {task['answer']}."})
    return {"messages": messages, "tools": make_toolkit(prices).get_json_schemas()}


FILES = {  # file -> (lines, what a line is made of a task)
    "demonstrations/train": (128, demonstration),
    "tasks/train": (512, dict),
    "tasks/test": (128, dict),
}


if __name__ == "__main__":
    draw = random.Random(SEED)
    pairs = list(itertools.permutations(ITEMS.split(), 2))
    draw.shuffle(pairs)
    for name, (size, line_of) in FILES.items():
        lines = [json.dumps(line_of(draw_task(pairs.pop(), draw))) for _ in range(size)]
        path = DATA / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        print(f"{path}: {size} lines, the first: {lines[0]}")
