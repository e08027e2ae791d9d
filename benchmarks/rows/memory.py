"""Memory of one training step, against what it takes on paper."""

from __future__ import annotations

from models import MODEL
from race import Contestant
from results import Outcome, Row
from transformers import PreTrainedConfig
from workload import rollouts

from agentscope_tuner.inference.loading import load_config, resolve_model
from agentscope_tuner.inference.memory import count_parameters

GROUPS, SAMPLES, PROMPT, NEW = 8, 8, 512, 64
TOKENS = GROUPS * (PROMPT + SAMPLES * NEW)
"""Of the pack: each prompt once."""
STATE_BYTES = 2 + 4 + 4 + 8
"""A parameter: bf16 weight, fp32 master weight, fp32 gradient, Adam's two moments."""


def measure(quick: bool) -> Outcome:
    """The peak of a fresh process (Python and libraries included) that takes one step."""
    directory = resolve_model(MODEL)
    rows = rollouts(0, groups=GROUPS, samples=SAMPLES, prompt=PROMPT, new=NEW)
    with Contestant("ours-memory", "train_ours.py", {"model": str(directory)}) as ours:
        answer = ours.ask({"rows": rows, "prompt": PROMPT})
    config = load_config(directory)
    state = STATE_BYTES * count_parameters(config)
    activations = TOKENS * activation_bytes(config, checkpointed=answer["checkpointed"])
    paper, peak = (state + activations) / 1e9, answer["peak_bytes"] / 1e9
    kept = "only each layer's input" if answer["checkpointed"] else "all"
    row = Row(
        f"peak memory of one training step, {TOKENS:,} tokens in a pack",
        "GB",
        target=1.5,
        lower_is_better=True,
        ours=peak,
        against="on paper",
        peer=paper,
        ratio=peak / paper,
        note=f"on paper {state / 1e9:.2f} GB of state, {activations / 1e9:.2f} GB of activations, "
        f"{kept} kept",
    )
    return Outcome([row])


def activation_bytes(config: PreTrainedConfig, *, checkpointed: bool) -> int:
    """What the backward pass of a Llama needs of each token, in bf16, the logits left out.

    Norms need their input and attention its queries, keys and values; of the products that of the
    attention needs its input, and the others make theirs again, the last one of gate and up. With
    checkpoints each layer needs its input, and one layer all.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    attention = hidden + queries + 2 * keys + queries  # norm; q; k, v; output
    feed_forward = hidden + 2 * inner  # norm; gate, up
    layer = 2 * (attention + feed_forward)
    layers: int = config.num_hidden_layers
    return 2 * hidden * layers + layer if checkpointed else layer * layers
