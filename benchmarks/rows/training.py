"""Training on groups that share prompts, and on an agent's turns: our learner against TRL's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from models import MODEL, computes_bf16
from peers import TRL
from race import Comparison, Contestant, Message, Pair, Unavailable, race
from results import Outcome, Row
from workload import AgentLoad, rollouts

from agentscope_tuner.inference.loading import resolve_model
from rows.agents import model_operations
from rows.sampling import GEMM

GROUPS, SAMPLES, PROMPT, NEW = 4, 8, 512, 64
TOKENS = GROUPS * SAMPLES * (PROMPT + NEW)
"""Of a step as TRL computes it: every sample with its prompt. The same count for both."""
AGENTS = AgentLoad(rollouts=8, shared=1500, turns=8, observed=150, sampled=64)
"""One group of it: 32 rollouts would take TRL a quarter of an hour a step without AMX."""
AGENT_TOKENS = AGENTS.rollouts * (AGENTS.shared + AGENTS.turns * (AGENTS.observed + AGENTS.sampled))
PEER = "TRL GRPOTrainer"
UNIT = "tokens/s"


def measure(quick: bool) -> Outcome:
    """Tokens a second of gradient and update together."""
    single = against_trl(single_turns, GROUPS * SAMPLES, 8, 1 if quick else 5)
    # In fp32 two rollouts a pass of TRL's do not fit into 24 GB beside ours.
    agents_a_pass = 2 if computes_bf16() else 1
    agents = against_trl(conversations, AGENTS.rollouts, agents_a_pass, 1 if quick else 2)
    return Outcome(
        [
            Row.of(
                f"training, groups of {SAMPLES}, {PROMPT} + {NEW} tokens",
                UNIT,
                Comparison.of(single[PEER], lambda answer: TOKENS / answer["seconds"]),
                against=PEER,
                target=5.0,
            ),
            Row.of(
                f"training, {AGENTS.rollouts} rollouts of {AGENTS.turns} turns behind "
                f"{AGENTS.shared:,} shared tokens",
                UNIT,
                Comparison.of(agents[PEER], lambda answer: AGENT_TOKENS / answer["seconds"]),
                against=PEER,
                target=8.0,
            ),
            Row.of(
                "the same at the rate of matrix products",
                "s",
                Comparison.of(map(at_roofline, agents[GEMM]), lambda answer: answer["seconds"]),
                against="the step",
                target=0.6,
            ),
        ]
    )


def against_trl(
    request: Callable[[int], Message], rows: int, rows_a_pass: int, repeats: int
) -> dict[str, list[Pair]]:
    """Pairs with TRL, which takes so many rows a pass (with more, activations do not fit), and with
    matrix products."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            # fp32 here, because both keep fp32 weights
            "model": str(resolve_model(MODEL)),
            "rows": rows,
            "rows_a_pass": rows_a_pass,
            "bf16": computes_bf16(),
            "output": directory,
        }
        with (
            Contestant(PEER, "train_trl.py", settings, TRL.python) as trl,
            Contestant(GEMM, "roofline.py", {}) as products,
            Contestant("ours-training", "train_ours.py", settings) as ours,
        ):
            pairs, failed = race(ours, [trl, products], request, repeats)
    if failed:
        raise Unavailable(failed[trl.name])
    return pairs


def at_roofline(pair: Pair) -> Pair:
    """Our step had it run at the rate of matrix products of its precision, measured beside it.

    Counted is three times what sampling the same computes."""
    rate = pair.peer["flops" if computes_bf16() else "float32"]
    return Pair({"seconds": 3 * model_operations(AGENTS) / rate}, pair.ours)


def conversations(seed: int) -> Message:
    """One step's rollouts of an agent."""
    return {"rollouts": AGENTS.rollouts_given(seed)}


def single_turns(seed: int) -> Message:
    """One step's rollouts of one turn."""
    rows = rollouts(seed, groups=GROUPS, samples=SAMPLES, prompt=PROMPT, new=NEW)
    return {"rows": rows, "prompt": PROMPT}
