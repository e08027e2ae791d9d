"""Write the example's data: BFCL's questions about files, each with three functions to choose from.

Conversations with an even number are learnt from, those with an odd one are held out. A question
that is learnt from comes several times, with other functions beside the right one.
`data/demonstrations/` has the right call of each question that is learnt from, in OpenAI's form.
"""

import json
import random
from pathlib import Path

from file_system import (
    FUNCTIONS,
    SYSTEM_PROMPT,
    file_system,
    make_toolkit,
    questions,
    read,
    run,
    shown,
)

DATA = Path(__file__).parent / "data"
CHOICE = 3
"""Functions that a question comes with."""
TIMES = 3
"""How often a question that is learnt from comes."""


def with_tools(task: dict, draw: random.Random) -> dict:
    right = read(task["call"])[0]
    others = draw.sample([name for name in FUNCTIONS if name != right], CHOICE - 1)
    return {**task, "tools": draw.sample([right, *others], CHOICE)}


def demonstration(task: dict) -> dict:
    system = file_system(task)
    name, arguments = read(task["call"])
    call = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "messages": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": task["question"]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call00001", "type": "function", "function": call}],
            },
            {
                "role": "tool",
                "tool_call_id": "call00001",
                "content": shown(run(system, task["call"])),
            },
            {"role": "assistant", "content": "Done."},
        ],
        "tools": make_toolkit(system, task["tools"], []).get_json_schemas(),
    }


def write(name: str, lines: list[dict]) -> None:
    path = DATA / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{path}: {len(lines)} lines")


def is_learnt_from(task: dict) -> bool:
    return int(task["conversation"].rpartition("_")[2]) % 2 == 0


if __name__ == "__main__":
    draw, tasks = random.Random(0), list(questions())
    learnt_from = [task for task in tasks if is_learnt_from(task) for _ in range(TIMES)]
    train = [with_tools(task, draw) for task in learnt_from]
    write("tasks/train", train)
    write("tasks/test", [with_tools(task, draw) for task in tasks if not is_learnt_from(task)])
    write("demonstrations/train", [demonstration(task) for task in train])
