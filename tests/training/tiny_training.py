"""Tiny models of every supported family, and random trees of tokens."""

import copy
import random

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training.columns import columns_of
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.reading import LOGPROBS
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

VOCABULARY = 40
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {}),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        {
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
}


def make_model(family: str = "llama") -> PreTrainedModel:
    """A tiny model with weights large enough for its distributions to be far from uniform."""
    model_class, config_class, extra = FAMILIES[family]
    torch.manual_seed(0)
    model = model_class(config_class(**SHAPE, **extra))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(8)
    return model


def make_learner(model: PreTrainedModel, **settings) -> LocalLearner:
    """A learner on a copy of the model, in float32 unless told otherwise."""
    settings.setdefault("optimizer", OptimizerSettings(lr=1e-3))
    settings.setdefault("compute_dtype", torch.float32)
    return LocalLearner(copy.deepcopy(model), **settings)


def forward_backward(
    learner: LocalLearner, groups: list[RolloutGroup], algorithm: Algorithm
) -> dict[str, float]:
    """Add the gradient of groups whose advantages are set; returns the metrics."""
    batch = Batch(groups)
    if algorithm.scope != "token":
        learner.forward(batch, {"current"})
    algorithm.prepare(batch)
    return learner.forward_backward(batch, algorithm)


def logprobs(
    learner: LocalLearner, groups: list[RolloutGroup]
) -> dict[tuple[int, int, int], float]:
    """(rollout, segment, index) -> ln p of each trained token under the learner's weights."""
    batch = Batch(groups)
    logprobs_N = columns_of(learner.model, batch, learner.pack_size, LOGPROBS)["current"]
    return {
        (number, segment, i): logprobs_N[span.start + n].item()
        for (number, segment), span in batch.spans.items()
        for n, i in enumerate(span.trained.tolist())
    }


def random_trajectory(
    draw: random.Random, prompt: list[int], *, segments: int = 5, temperature: float = 1.0
) -> Trajectory:
    """A tree of segments below `prompt` (or a root that parts ways with it), of few tokens."""

    def tokens(most: int) -> list[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(1, most))]

    tree = [Segment(None, [*prompt[: draw.randint(1, len(prompt))], *tokens(2)])]
    for _ in range(segments):
        ids = tokens(4)
        parent = draw.choice([None, *range(len(tree))])
        if parent is None:
            tree.append(Segment(None, [*prompt[: draw.randint(1, len(prompt))], *ids]))
        elif draw.random() < 0.3:
            tree.append(Segment(parent, ids))
        else:
            logprobs = [draw.uniform(-5, -1) for _ in ids]
            forced = [draw.random() < 0.2 for _ in ids]
            tree.append(Segment(parent, ids, Sampled(logprobs, forced, "m", 0, temperature)))
    return Trajectory(tree)


def random_groups(
    seed: int, *, groups: int = 2, rollouts: int = 3, temperature: float = 1.0
) -> list[RolloutGroup]:
    """Groups whose advantages are set, some of them None."""
    draw = random.Random(seed)
    result = []
    for g in range(groups):
        prompt = [draw.randrange(3, VOCABULARY) for _ in range(6)]
        members = []
        for r in range(rollouts):
            trajectory = random_trajectory(draw, prompt, temperature=temperature)
            advantage = None if draw.random() < 0.15 else draw.gauss(0, 1)
            members.append(Rollout(f"{g}-{r}", {}, trajectory, advantage=advantage))
        result.append(RolloutGroup(str(g), {}, members))
    return result
