"""10,000 rollouts, three in ten of which fail, in every way of the corpus of faults."""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
from faults import (
    GOOD,
    JUDGE_FAULTS,
    WORKFLOW_FAULTS,
    assert_all_accounted_for,
    judge,
    workflow,
)
from test_faults import Echo
from test_through_the_endpoint import byte_tokenizer

from agentscope_tuner.chat.served import serve_model
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.event_loop import run_to_completion
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path, write_rollouts
from attack.report import table

BATCHES, TASKS, GROUP = 25, 200, 2
FAULTY = 60
"""Tasks of a batch that commit a fault."""
TIMEOUT_S = 4.0
WARM = 5
"""Batches until every kind of fault has been met, and every cache has its size."""
MAY_GROW = 0.05
"""Of the memory at that point, by the end: threads that the faults block for ever are theirs."""
SEED = 10


def tasks_of(batches: int) -> Iterator[list[dict[str, Any]]]:
    """Batches of good and faulty tasks, shuffled; the faults take turns."""
    rng = random.Random(SEED)
    faults = [("workflow", name) for name in WORKFLOW_FAULTS]
    faults += [("judge", name) for name in JUDGE_FAULTS]
    rng.shuffle(faults)
    turns = cycle(faults)
    for _ in range(batches):
        chosen = [next(turns) for _ in range(FAULTY)] + [("workflow", GOOD)] * (TASKS - FAULTY)
        rng.shuffle(chosen)
        yield [
            {"n": n, "question": f"{n} + 1 =", "where": where, "fault": fault}
            for n, (where, fault) in enumerate(chosen)
        ]


def attack_rollouts(directory: Path, light: bool) -> list[str]:
    """Run them, and hold each batch against what it asked for, in memory and from disk."""
    logging.basicConfig(filename=directory / "log", force=True)  # thousands of tracebacks
    sampler = Echo(byte_tokenizer())
    kinds: Counter[str] = Counter()
    memory_mb: list[float] = []

    def sampled(token_ids: list[int]) -> str:
        return sampler.tokenizer.decode(token_ids, skip_special_tokens=True)

    async def work() -> None:
        service = ChatService(serve_model("policy", sampler, sampler.tokenizer, max_tokens=32))
        runner = RolloutRunner(service, workflow, judge, timeout_s=TIMEOUT_S)
        try:
            for step, tasks in enumerate(tasks_of(3 if light else BATCHES), 1):
                groups = await runner.run_groups(tasks, GROUP, label=f"step{step}", seed=step)
                assert_all_accounted_for(groups, tasks, GROUP, sampled)
                path = rollouts_path(directory, step)
                write_rollouts(path, groups)
                rollouts = [rollout for group in groups for rollout in group.rollouts]
                assert read_rollouts(path) == rollouts
                path.unlink()
                kinds.update(
                    rollout.error.kind if rollout.error else "good" for rollout in rollouts
                )
                del groups, rollouts
                gc.collect()
                memory_mb.append(psutil.Process().memory_info().rss / 1e6)
                print(f"batch {step}: {memory_mb[-1]:.0f} MB", flush=True)
        finally:
            await service.close()

    home = os.getcwd()
    try:
        run_to_completion(work())
    finally:
        os.chdir(home)  # which one of the faults leaves
    warm, last = memory_mb[min(WARM, len(memory_mb)) - 1], memory_mb[-1]
    assert last <= warm * (1 + MAY_GROW), memory_mb
    count, faults = sum(kinds.values()), len(WORKFLOW_FAULTS) + len(JUDGE_FAULTS)
    return [
        f"{count:,} rollouts, {FAULTY / TASKS:.0%} of them with one of {faults} faults: each came "
        "back once, in its group, with its own words, as the failure that its fault is, and was "
        f"read back from disk as it was. Memory {warm:.0f} MB after {WARM} batches of "
        f"{TASKS * GROUP}, {last:.0f} MB at the end, with {threading.active_count()} threads, most "
        "of them blocked.",
        "",
        *table(["came back as", "rollouts"], kinds.most_common()),
    ]
