"""Families of tasks for the arithmetic example's agent and judge: the answers are numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import reasoning_gym
from arithmetic import DATA, make_dataset

from agentscope_tuner.cache import cache_directory

ROOT = Path(__file__).parents[1]
PRODUCTS_DATA = cache_directory() / "bench" / "tasks" / "products"
DRAWN = 4096
"""Enough that each product comes up."""
HELD_OUT_PAIRS = 24


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks in a directory, laid out as the example's."""

    title: str
    tasks: str
    """What they are, in sentences."""
    data: Path
    make: Callable[[], None]
    """Writes the directory."""
    file: str
    """Name of its picture and of its finished runs."""

    @property
    def kept(self) -> Path:
        """Its finished runs."""
        return ROOT / "benchmarks" / f"{self.file}.jsonl"

    @property
    def picture(self) -> Path:
        """Beside the page of results."""
        return ROOT / "docs" / f"{self.file}.png"


def make_products() -> None:
    """Write all of reasoning-gym's products of two one-digit numbers.

    Both orders of two numbers are on one side.
    """
    drawn = reasoning_gym.create_dataset(
        "products", min_terms=2, max_terms=2, min_digits=1, max_digits=1, seed=1, size=DRAWN
    )
    pairs: dict[tuple[str, ...], dict[str, str]] = {}
    for task in drawn:
        numbers = tuple(sorted(re.findall(r"\d+", task["question"])))
        pairs.setdefault(numbers, {})[task["question"]] = task["answer"]
    of_pairs = list(pairs.values())
    PRODUCTS_DATA.mkdir(parents=True, exist_ok=True)
    for split, own in {
        "train": of_pairs[HELD_OUT_PAIRS:],
        "test": of_pairs[:HELD_OUT_PAIRS],
    }.items():
        tasks = [{"question": q, "answer": a} for orders in own for q, a in orders.items()]
        lines = "".join(json.dumps(task) + "\n" for task in tasks)
        (PRODUCTS_DATA / f"{split}.jsonl").write_text(lines)


SUMS = Family(
    title="The arithmetic example",
    tasks="""Sums and differences of two one-digit numbers. Of the 200 different tasks of this kind
64 are held out, and the other 136 are learnt from.""",
    data=DATA,
    make=make_dataset,
    file="curves",
)
PRODUCTS = Family(
    title="Another family of tasks",
    tasks="""Products of two one-digit numbers, with the same settings, none of which was tried on
them before. Of the 100 tasks of this kind 46 are held out, and the other 54 are learnt from; both
orders of two numbers are on one side.""",
    data=PRODUCTS_DATA,
    make=make_products,
    file="products",
)
FAMILIES = {"sums": SUMS, "products": PRODUCTS}
