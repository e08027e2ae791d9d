"""10,000 malformed requests, with a victim beside them whose answers must not take longer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from agentscope_tuner.build.models import build_rollouts
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine.models import ModelFiles
from attack.malformed import MALFORMED
from attack.report import table
from tiny_llama import SMOL

REQUESTS, ROUNDS = 10_000, 10
ALONE = 6
"""Requests of the victim before each round, to know its own latency there and then."""
TOKENS = 16
MOST = 2.0
"""Times its own latency that the victim may wait."""
SEED = 11


def attack_endpoint(directory: Path, light: bool) -> list[str]:
    """Let a program send malformed requests over a socket while a workflow's model is used."""
    return asyncio.run(_attack(300 if light else REQUESTS, 1 if light else ROUNDS))


async def _attack(requests: int, rounds: int) -> list[str]:
    config = resolve(
        overrides={
            **{"model.model_path": SMOL, "model.max_model_len": 512},
            "buffer.explorer_input.taskset.path": "nowhere",
        }
    )
    files = ModelFiles.find(SMOL)
    rollouts = await build_rollouts(config, files, None, None, None)
    service = rollouts.service
    alone: list[float] = []
    beside: list[float] = []
    answers: Counter[tuple[str, int]] = Counter()
    try:
        victim = service.open("victim", temperature=0.0, max_tokens=TOKENS)
        await _seconds(victim.model)  # the first one finds cold caches
        for number in range(rounds):
            alone += [await _seconds(victim.model) for _ in range(ALONE)]
            attacker = service.open(f"attacker-{number}")
            attack = asyncio.create_task(_let_attack(attacker, requests // rounds, SEED + number))
            while not attack.done():
                beside.append(await _seconds(victim.model))
            answers.update(await attack)
            assert attacker.fault is None
            assert attacker.trajectory.calls == []
            attacker.close()
            print(f"{sum(answers.values()):,} requests", flush=True)
        assert victim.fault is None
    finally:
        await rollouts.close()
    wrong = [(*answer, times) for answer, times in answers.items() if not 400 <= answer[1] < 500]
    assert not wrong, wrong
    slower = median(beside) / median(alone)
    assert slower < MOST, (slower, alone, beside)
    return [
        f"{sum(answers.values()):,} malformed requests of {len(MALFORMED)} kinds, from a program "
        "of its own over the socket: every one was refused with a 4xx. Beside them a workflow's "
        f"model answered {len(beside)} requests of {TOKENS} tokens (SmolLM2-135M), {slower:.2f} "
        "times as slowly as alone (medians).",
        "",
        *table(
            ["the victim", "requests", "median s", "longest s"],
            [
                [name, len(times), f"{median(times):.2f}", f"{max(times):.2f}"]
                for name, times in (("alone", alone), ("beside them", beside))
            ],
        ),
        "",
        *table(["status", "answers"], _by_status(answers).most_common()),
    ]


async def _seconds(model: Any) -> float:
    began = time.perf_counter()
    await model([{"role": "user", "content": "Count from one to twenty."}])
    return time.perf_counter() - began


async def _let_attack(session: Any, count: int, seed: int) -> Counter[tuple[str, int]]:
    """Run the attacking program to its end against one rollout's URL, with its key."""
    url = session.model.base_url
    arguments = ["-m", "attack.malformed", url, session.key, str(count), str(seed)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return Counter({(kind, status): times for kind, status, times in json.loads(output)})


def _by_status(answers: Counter[tuple[str, int]]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for (_, status), times in answers.items():
        counts[status] += times
    return counts
