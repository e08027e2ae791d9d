"""A client that sends nothing but malformed requests, as a program of its own.

    python -m attack.malformed URL KEY COUNT SEED

Prints, as JSON, how often each kind was answered with each status.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

CONCURRENCY = 4
VARIATIONS = 3
"""Bodies of a kind, made before any is sent: the attacker is to take little of the machine."""
USER = {"role": "user", "content": "Hi."}

Make = Callable[[random.Random], Any]
"""A request: its body as bytes, or as what becomes JSON."""


def _fields(**fields: Any) -> Make:
    return lambda rng: {"model": "policy", "messages": [USER], **fields}


def _messages(messages: Any) -> Make:
    return _fields(messages=messages)


def _schema(schema: Any) -> Make:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return _fields(response_format=form)


def _tool(**fields: Any) -> Make:
    function = {"name": "add", "parameters": {"type": "object", "properties": {}}, **fields}
    tools = [{"type": "function", "function": function}]
    return _fields(tools=tools, tool_choice={"type": "function", "function": {"name": "sub"}})


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


def _cut(rng: random.Random) -> bytes:
    whole = json.dumps({"model": "policy", "messages": [USER], "temperature": 0.5}).encode()
    return whole[: rng.randrange(1, len(whole) - 1)]


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RECURSIVE = {
    "$defs": {
        "n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}
    },
    "$ref": "#/$defs/n",
}
MALFORMED: dict[str, Make] = {
    "no body": lambda rng: b"",
    "no JSON": lambda rng: b"{",
    "JSON cut off": _cut,
    "random bytes": lambda rng: rng.randbytes(200),
    "no UTF-8": lambda rng: b"\xff\xfe{}",
    "null": lambda rng: b"null",
    "a list": lambda rng: [1, 2],
    "a number": lambda rng: b"1e999",
    "brackets": lambda rng: b"[" * 100_000,
    "a body of 5 MB": lambda rng: b" " * (5 * 2**20),
    "a hundred thousand values": lambda rng: {"model": "policy", "messages": [0] * 100_000},
    "no model": lambda rng: {"messages": [USER]},
    "another model": _fields(model="gpt-9"),
    "a model of a strange type": _fields(model=7),
    "a model with a lone surrogate": lambda rng: b'{"model": "\\ud800", "messages": []}',
    "no messages": _messages([]),
    "messages of a strange type": _messages("Hi."),
    "a message that is text": _messages(["Hi."]),
    "a role nobody has": _messages([{"role": "robot", "content": "?"}]),
    "no role": _messages([{"content": "?"}]),
    "content of a strange type": _messages([{"role": "user", "content": 5}]),
    "an image": _messages([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
    "a part without a type": _messages([{"role": "user", "content": [{"text": "?"}]}]),
    "a tool call of a strange type": _messages([{"role": "assistant", "tool_calls": [7]}]),
    "arguments that are no JSON": _messages(
        [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": 1, "arguments": "{"}}]}]
    ),
    "a prompt that is too long": _messages([{"role": "user", "content": "long " * 5_000}]),
    "a prompt of 3 MB": _messages([{"role": "user", "content": "x" * 3_000_000}]),
    "content a thousand lists deep": _messages([{"role": "user", "content": _nested(500)}]),
    "a negative temperature": _fields(temperature=-1),
    "a temperature in words": _fields(temperature="hot"),
    "an infinite temperature": lambda rng: b'{"model":"policy","messages":[],"temperature":1e999}',
    "top_p of 0": _fields(top_p=0),
    "top_p above 1": _fields(top_p=1.5),
    "no choices": _fields(n=0),
    "a thousand choices": _fields(n=1000),
    "no tokens": _fields(max_tokens=0),
    "an empty stop": _fields(stop=""),
    "too many stops": _fields(stop=["a"] * 17),
    "a million stops": _fields(stop=["a"] * 30_000),
    "a long stop": _fields(stop="x" * 10_000),
    "a stop of a strange type": _fields(stop=5),
    "top_logprobs without logprobs": _fields(top_logprobs=3),
    "stream_options without a stream": _fields(stream_options={"include_usage": True}),
    "a penalty in words": _fields(presence_penalty="some"),
    "a bias of no token": _fields(logit_bias={"five": 1}),
    "a field nobody knows": _fields(best_of=3),
    "audio": _fields(modalities=["audio"]),
    "a tool that must be called, without tools": _fields(tool_choice="required"),
    "a tool choice that is not there": _tool(),
    "a tool of a strange type": _fields(tools=[{"type": "web_search"}]),
    "tools that are no list": _fields(tools=7),
    "a schema that is missing": _fields(response_format={"type": "json_schema"}),
    "a schema of a strange type": _schema({"type": "nonsense"}),
    "a schema that never ends": _schema(RECURSIVE),
    "a schema of hostile numbers": _schema({"type": "integer", "multipleOf": 1e300, "minimum": 1}),
    "a schema of 100 kB": _schema({"enum": ["x" * 100] * 1_000}),
    "a pattern that is none": _schema({"type": "string", "pattern": "("}),
    "template arguments nobody knows": _fields(chat_template_kwargs={"mood": "sunny"}),
    "template arguments of 10 kB": _fields(chat_template_kwargs={"mood": "x" * 10_000}),
}
"""Every kind of malformed request: each has to be refused with a 4xx."""


def _body(made: Any) -> bytes:
    return made if isinstance(made, bytes) else json.dumps(made).encode()


async def attack(url: str, key: str, count: int, seed: int) -> Counter[tuple[str, int]]:
    """Send `count` requests, a few at a time, and count their answers."""
    rng = random.Random(seed)
    kinds = [*MALFORMED]
    rng.shuffle(kinds)
    answers: Counter[tuple[str, int]] = Counter()
    limits = httpx.Limits(max_connections=CONCURRENCY)
    bodies = {
        kind: [_body(make(rng)) for _ in range(VARIATIONS)] for kind, make in MALFORMED.items()
    }
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=120) as client:

        async def send(numbers: range) -> None:
            for number in numbers:
                kind = kinds[number % len(kinds)]
                body = rng.choice(bodies[kind])
                response = await client.post(f"{url}/chat/completions", content=body)
                answers[kind, response.status_code] += 1

        turns = (range(first, count, CONCURRENCY) for first in range(CONCURRENCY))
        await asyncio.gather(*(send(turn) for turn in turns))
    return answers


if __name__ == "__main__":
    url, key, count, seed = sys.argv[1:]
    found = asyncio.run(attack(url, key, int(count), int(seed)))
    print(json.dumps([[kind, status, times] for (kind, status), times in found.items()]))
