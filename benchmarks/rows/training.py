"""Training on groups that share long prompts: our learner against TRL's loss and step."""

from __future__ import annotations

import tempfile

from models import MODEL
from peers import TRL
from race import Comparison, Contestant, Message, Unavailable, race
from results import Outcome, Row
from workload import rollouts

from agentscope_tuner.inference.loading import resolve_model

GROUPS, SAMPLES, PROMPT, NEW = 4, 8, 512, 64
TOKENS = GROUPS * SAMPLES * (PROMPT + NEW)
"""Of a step as TRL computes it: every sample with its prompt. The same count for both."""


def measure(quick: bool) -> Outcome:
    """Tokens a second of gradient and update together."""
    repeats = 1 if quick else 5
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            # fp32 here, because both keep fp32 weights
            "model": str(resolve_model(MODEL)),
            "rows": GROUPS * SAMPLES,
            "output": directory,
        }
        with (
            Contestant("trl-training", "train_trl.py", settings, TRL.python) as trl,
            Contestant("ours-training", "train_ours.py", settings) as ours,
        ):
            pairs, failed = race(ours, [trl], request, repeats)
    if failed:
        raise Unavailable(failed[trl.name])
    comparison = Comparison.of(pairs[trl.name], lambda answer: TOKENS / answer["seconds"])
    name = f"training, groups of {SAMPLES}, {PROMPT} + {NEW} tokens"
    return Outcome([Row.of(name, "tokens/s", comparison, against="TRL GRPOTrainer", target=5.0)])


def request(seed: int) -> Message:
    """One step's rollouts."""
    rows = rollouts(seed, groups=GROUPS, samples=SAMPLES, prompt=PROMPT, new=NEW)
    return {"rows": rows, "prompt": PROMPT}
