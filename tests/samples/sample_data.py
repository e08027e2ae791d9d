"""A few tasks for each of AgentScope's published tuner samples, of the form that they read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SUMS = [(2, 3), (4, 5), (6, 1), (7, 8)]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A jsonl file in a directory of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.parent


def sums(directory: Path) -> None:
    """What math_agent and data_augment read; the pass rates are what the latter selects by."""
    rows = [
        {
            "question": f"What is {a} + {b}?",
            "answer": f"#### {a + b}",
            "qwen2.5_7b_pass_rate": number / 4,
            "qwen3_30b_pass_rate": number / 3,
        }
        for number, (a, b) in enumerate(SUMS)
    ]
    write_rows(directory / "data" / "train.jsonl", rows)
    write_rows(directory / "data" / "test.jsonl", rows[:1])


def lakes(directory: Path) -> None:
    """Maps for frozen_lake."""
    rows = [{"seed": seed, "size": 3, "p": 0.8} for seed in range(4)]
    write_rows(directory / "data" / "train.jsonl", rows)


def seeds(directory: Path) -> None:
    """Games of werewolves."""
    write_rows(directory / "data" / "train.jsonl", ({"seed": seed} for seed in range(4)))


def dialogues(directory: Path) -> None:
    """What learn_to_ask makes of a dialogue with a doctor."""
    messages = [{"role": "user", "content": "My head hurts. What should I take?"}]
    rows = [
        {"messages": messages, "decision_truth": decision, "info_truth": "How long it has hurt."}
        for decision in ("continue", "stop", "continue", "stop")
    ]
    write_rows(directory / "data" / "train.jsonl", rows)


def mails(directory: Path) -> None:
    """A mailbox in the tables that email_search queries, and questions about it."""
    database = sqlite3.connect(directory / "mails.db")
    database.executescript(
        "CREATE TABLE emails (id INTEGER PRIMARY KEY, message_id TEXT UNIQUE, subject TEXT,"
        " from_address TEXT, date TEXT, body TEXT, file_name TEXT);"
        "CREATE TABLE recipients (email_id INTEGER, recipient_address TEXT, recipient_type TEXT);"
        "CREATE VIRTUAL TABLE emails_fts USING fts5(subject, body);"
    )
    rows = []
    for number, room in enumerate(("blue", "green", "red", "white")):
        mail, body = f"<{number}@mail>", f"The meeting {number} is in the {room} room."
        values = (number, mail, f"Meeting {number}", "bob@mail", "2001-05-01 10:00:00", body, "")
        database.execute("INSERT INTO emails VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        database.execute("INSERT INTO recipients VALUES (?, 'ann@mail', 'to')", (number,))
        database.execute(
            "INSERT INTO emails_fts (rowid, subject, body) VALUES (?, ?, ?)",
            (number, values[2], body),
        )
        row = {"id": number, "question": f"Where is meeting {number}?", "answer": room}
        about = {"how_realistic": 1.0, "inbox_address": "ann@mail", "query_date": "2001-05-02"}
        rows.append({**row, "message_ids": [mail], **about})
    database.commit()
    write_rows(directory / "data" / "train.jsonl", rows)


DATA: dict[str, Callable[[Path], None]] = {
    "math_agent": sums,
    "data_augment": sums,
    "frozen_lake": lakes,
    "learn_to_ask": dialogues,
    "email_search": mails,
    "werewolves": seeds,
}
"""Directory of a sample -> what writes its data."""
