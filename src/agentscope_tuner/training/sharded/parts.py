"""A rank's parts of a learner and of the models beside it."""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import DeviceMesh

from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.training.recipe import Recipe
from agentscope_tuner.training.sharded.critic import ShardedCritic
from agentscope_tuner.training.sharded.learner import ShardedLearner
from agentscope_tuner.training.sharded.model import ShardedFrozenModel

Part = ShardedLearner | ShardedFrozenModel | ShardedCritic

LEARNER = "learner"
"""The name of the part that is tuned."""
CRITIC = "critic"
"""And of the one that says what return to expect."""


def open_parts(recipe: Recipe, mesh: DeviceMesh) -> dict[str, Part]:
    """Load everything onto a mesh; every rank does at once."""
    parts: dict[str, Part] = {}
    torch.manual_seed(recipe.seed)
    parts[LEARNER] = ShardedLearner(
        load_model(recipe.model, torch.float32),
        mesh,
        optimizer=recipe.optimizer,
        compute_dtype=recipe.compute_dtype,
        pack_size=recipe.pack_size,
        lora=recipe.lora,
        tokenizer=recipe.tokenizer,
        checkpoint=recipe.checkpoint,
    )
    for name, frozen in recipe.frozen.items():
        parts[name] = ShardedFrozenModel(
            load_model(frozen.model, torch.float32),
            mesh,
            dtype=recipe.compute_dtype,
            pack_size=recipe.pack_size,
            top=frozen.top,
        )
    if recipe.critic is not None:
        torch.manual_seed(recipe.seed)
        parts[CRITIC] = ShardedCritic(
            load_model(recipe.critic.model, torch.float32),
            mesh,
            optimizer=recipe.critic.optimizer,
            compute_dtype=recipe.compute_dtype,
            pack_size=recipe.pack_size,
            lora=recipe.lora,
            checkpoint=recipe.checkpoint,
        )
    return parts
