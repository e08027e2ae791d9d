"""Adapters of rank 16 against full tuning: time and memory of a learner's step."""

from __future__ import annotations

from models import MODEL
from race import Comparison, Contestant, race
from results import Outcome, Row
from workload import rollouts

from agentscope_tuner.inference.loading import resolve_model

GROUPS, SAMPLES, PROMPT, NEW = 4, 8, 128, 64
RANK = 16
PEER = "full tuning"


def measure(quick: bool) -> Outcome:
    """Seconds of gradient and update, and the greatest resident size of a process that does it."""
    model = str(resolve_model(MODEL))

    def request(seed: int) -> dict[str, object]:
        rows = rollouts(seed, groups=GROUPS, samples=SAMPLES, prompt=PROMPT, new=NEW)
        return {"rows": rows, "prompt": PROMPT}

    with (
        Contestant("lora", "train_ours.py", {"model": model, "lora_rank": RANK}) as lora,
        Contestant(PEER.replace(" ", "-"), "train_ours.py", {"model": model}) as full,
    ):
        pairs, _ = race(lora, [full], request, 1 if quick else 7)
    entries = pairs[full.name]
    name = f"LoRA of rank {RANK}, a learner's step, 135M"
    return Outcome(
        [
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
    )
