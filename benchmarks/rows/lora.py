"""Adapters of rank 16 against full tuning: time and memory of a learner's step."""

from __future__ import annotations

import tempfile
from pathlib import Path

from larger import write_model
from models import MODEL
from race import Comparison, Contestant, race
from results import Outcome, Row
from workload import rollouts

from agentscope_tuner.inference.loading import resolve_model

GROUPS, SAMPLES, PROMPT, NEW = 4, 8, 128, 64
RANK = 16
PEER = "full tuning"
LARGER = "a quarter of 1.7B"
"""Of its layers: full tuning of all of them does not fit here."""


def measure(quick: bool) -> Outcome:
    """Seconds of gradient and update, and the greatest resident size of a process that does it."""
    rows = against_full_tuning("135M", resolve_model(MODEL), 1 if quick else 7)
    with tempfile.TemporaryDirectory() as directory:
        write_model(Path(directory), LARGER)
        rows += against_full_tuning(LARGER, Path(directory), 1 if quick else 3)
    return Outcome(rows)


def against_full_tuning(what: str, model: Path, repeats: int) -> list[Row]:
    """Both of one model."""

    def request(seed: int) -> dict[str, object]:
        rows = rollouts(seed, groups=GROUPS, samples=SAMPLES, prompt=PROMPT, new=NEW)
        return {"rows": rows, "prompt": PROMPT}

    settings = {"model": str(model)}
    with (
        Contestant("lora", "train_ours.py", settings | {"lora_rank": RANK}) as lora,
        Contestant(PEER.replace(" ", "-"), "train_ours.py", settings) as full,
    ):
        pairs, _ = race(lora, [full], request, repeats)
    entries = pairs[full.name]
    name = f"LoRA of rank {RANK}, a learner's step, {what}"
    return [
        Row.of(
            f"{name}: time",
            "s",
            Comparison.of(entries, lambda answer: answer["seconds"]),
            against=PEER,
            target=0.75,
            lower_is_better=True,
        ),
        Row.of(
            f"{name}: peak memory of the process",
            "GB",
            Comparison.of(entries, lambda answer: answer["peak_bytes"] / 1e9),
            against=PEER,
            target=0.45,
            lower_is_better=True,
        ),
    ]
