"""A learner's step of rules that couple tokens, against one of a rule that does not."""

from __future__ import annotations

from models import MODEL
from race import Comparison, Contestant, Pair, say
from results import Outcome, Row
from workload import rollouts

from agentscope_tuner.inference.loading import resolve_model

GROUPS, SAMPLES, PROMPT, NEW = 8, 8, 48, 64
TOKEN = "grpo"
COUPLED = {"sequence": "gspo", "pair": "dpo", "batch": "m2po"}


def measure(quick: bool) -> Outcome:
    """Seconds of gradient and update, with the pass without gradient that the others need before.

    A pair is a group of two, so its batch has four times as many groups of as many samples.
    """
    repeats = 2 if quick else 7
    pairs: dict[str, list[Pair]] = {scope: [] for scope in COUPLED}
    with Contestant("ours-scopes", "train_ours.py", {"model": str(resolve_model(MODEL))}) as ours:
        for repeat in range(repeats + 1):
            for scope, algorithm in COUPLED.items():
                samples = 2 if scope == "pair" else SAMPLES
                groups = GROUPS * SAMPLES // samples
                rows = rollouts(repeat, groups=groups, samples=samples, prompt=PROMPT, new=NEW)
                answers = [
                    ours.ask({"rows": rows, "prompt": PROMPT, "algorithm": name})
                    for name in (algorithm, TOKEN)
                ]
                say(f"{repeat}/{repeats} {algorithm}", *answers)
                if repeat:  # the first time warms up
                    pairs[scope].append(Pair(*answers))
    return Outcome(
        [
            Row.of(
                f"learner's step of {COUPLED[scope]}, which couples the tokens of a {scope}",
                "s",
                Comparison.of(entries, lambda answer: answer["seconds"]),
                against=TOKEN,
                target=1.4,
                lower_is_better=True,
            )
            for scope, entries in pairs.items()
        ]
    )
