"""The arithmetic example, end to end, against TRL with the same model, tasks and settings."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from models import MODEL, computes_bf16, layers_and_head
from peers import TRL
from race import Comparison, Contestant, Message, Pair, say
from results import Outcome, Row

from agentscope_tuner.inference.loading import resolve_model
from rows.sampling import GEMM

EXAMPLE = Path(__file__).parents[2] / "examples" / "arithmetic"
STEPS = 40
FEW = 8
"""Steps where all would take longer than `PATIENCE`, as the first ones have it."""
PATIENCE = 1800
"""Seconds of both runs."""
EVAL_INTERVAL = 2
QUICK_STEPS = 2
GOAL = 0.6
PEER = "TRL GRPOTrainer"
SAMPLES = 8
"""Of a task."""


@dataclass(slots=True)
class Run:
    """One contestant's training so far."""

    contestant: Contestant
    steps: list[Message] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the last evaluation was good enough."""
        return bool(self.steps) and self.steps[-1].get("held_out", 0.0) >= GOAL

    def step(self) -> None:
        """One step more, unless the goal is reached."""
        if not self.reached:
            self.steps.append(self.contestant.ask({}))

    @property
    def seconds(self) -> float:
        """Of training; evaluations do not count."""
        return sum(float(step["seconds"]) for step in self.steps)


def measure(quick: bool) -> Outcome:
    """Steps in turn; in the full form until both have learnt, or to the last step."""
    subprocess.run([sys.executable, str(EXAMPLE / "make_dataset.py")], check=True)
    steps = QUICK_STEPS if quick else STEPS
    bf16 = computes_bf16()
    rates = []
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "steps": STEPS,
            "eval_interval": STEPS if quick else EVAL_INTERVAL,
            "data": str(EXAMPLE / "data"),
            "example": str(EXAMPLE / "main.py"),
            "output": directory,
            "seed": 0,
            "bf16": bf16,
            # fp32 here, because both keep fp32 weights
            "model": str(resolve_model(MODEL)),
        }
        with (
            Contestant("trl", "demo_trl.py", settings, TRL.python) as trl,
            Contestant("ours-demo", "demo_ours.py", settings) as ours,
            Contestant(GEMM, "roofline.py", {}) as products,
        ):
            runs = Run(ours), Run(trl)
            while longest(runs) < steps and not all(run.reached for run in runs):
                for run in runs:
                    run.step()
                rates.append(products.ask({})["flops" if bf16 else "float32"])
                say(f"step {longest(runs)}", *(run.steps[-1] for run in runs))
                if longest(runs) == 1 and STEPS * sum(run.seconds for run in runs) > PATIENCE:
                    steps = min(steps, FEW)
    measured = [*rows(*runs, quick), at_roofline(runs[0].steps, rates)]
    return Outcome(measured, "" if quick else curves(*runs))


def longest(runs: Iterable[Run]) -> int:
    """Steps of whoever has taken the most; one that has learnt takes no more."""
    return max(len(run.steps) for run in runs)


def rows(ours: Run, trl: Run, quick: bool) -> list[Row]:
    """The step, how long learning takes, and what of our step is not the model."""
    pairs = [Pair(*pair) for pair in zip(ours.steps, trl.steps, strict=False)][1:]
    result = [
        Row.of(
            "GRPO step of the demo (8 x 8 x 24 tokens)",
            "steps/min",
            Comparison.of(pairs, lambda answer: 60 / answer["seconds"]),
            against=PEER,
            target=8.0,
        )
    ]
    if not quick:
        result.append(time_to_goal(ours, trl))
    parts = {
        "weights to the sampler, of a step": (lambda step: step["sync"], 0.03),
        "neither a call answered nor the learner at work, of a step": (
            lambda step: step["seconds"] - step["calling"] - step["train"],
            0.1,
        ),
    }
    for name, (part, target) in parts.items():
        shares = [Pair({"seconds": part(step)}, step) for step in ours.steps[1:]]
        comparison = Comparison.of(shares, lambda answer: answer["seconds"])
        result.append(
            Row.of(name, "s", comparison, against="the step", target=target, lower_is_better=True)
        )
    return result


def at_roofline(steps: list[Message], rates: list[float]) -> Row:
    """Our steps had they run at the rate of matrix products of their precision, measured beside
    them: two operations for each weight and token that is prefilled or sampled, six for each that
    is learnt from; of the head for each sampled and each trained token."""
    layers, head = layers_and_head()

    def seconds(step: Message, rate: float) -> float:
        sampled = step["rollouts"] * step["sampled"]
        read = step["rollouts"] / SAMPLES * step["prompt"]
        trained = step["tokens"] - step["skipped"]
        work = 2 * (layers * (read + sampled) + head * sampled)
        return float((work + 6 * (layers * step["packed"] + head * trained)) / rate)

    pairs = [
        Pair({"seconds": seconds(step, rate)}, step)
        for step, rate in zip(steps, rates, strict=False)
    ][1:]
    comparison = Comparison.of(pairs, lambda answer: answer["seconds"])
    name = "a step of the demo at the rate of matrix products"
    return Row.of(name, "s", comparison, against="the step", target=0.7)


def time_to_goal(ours: Run, trl: Run) -> Row:
    """Seconds of training until the held-out reward is reached, or to the last step."""
    notes = [
        f"{name} {'reached it' if run.reached else 'had not reached it'} after {len(run.steps)}"
        for name, run in (("ours", ours), ("TRL", trl))
    ]
    return Row(
        f"time until the demo's held-out reward is {GOAL}",
        "s",
        target=1 / 6,
        lower_is_better=True,
        ours=ours.seconds,
        against=PEER,
        peer=trl.seconds,
        ratio=ours.seconds / trl.seconds if ours.reached else None,
        note=", ".join(notes) + " steps",
    )


def curves(ours: Run, trl: Run) -> str:
    """Held-out rewards by step."""
    lines = ["## The demo's held-out reward", "", "| step | ours | TRL |", "| --- | --- | --- |"]
    for at in range(EVAL_INTERVAL, longest((ours, trl)) + 1, EVAL_INTERVAL):
        values = [
            f"{run.steps[at - 1]['held_out']:.3f}" if at <= len(run.steps) else ""
            for run in (ours, trl)
        ]
        lines.append(f"| {at} | {values[0]} | {values[1]} |")
    return "\n".join(lines)
