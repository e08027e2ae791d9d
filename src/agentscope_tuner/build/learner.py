"""A learner and the models beside it, in this process or on ranks: by one recipe, to one form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.engine.base import Columns, Learner, Tuned
from agentscope_tuner.engine.models import default_device
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.critic import LocalCritic
from agentscope_tuner.training.learner import LEARNER_STATE, LocalLearner
from agentscope_tuner.training.recipe import Recipe
from agentscope_tuner.training.sharded.group import LearnerGroup
from agentscope_tuner.training.sharded.process import ranks_here
from agentscope_tuner.training.sharded.state import UPDATES
from agentscope_tuner.training.sharded.talk import Rank


@dataclass(frozen=True, slots=True)
class Models:
    """What learns, and what it learns beside."""

    learner: Learner
    frozen: Mapping[str, Columns] = field(default_factory=dict)
    """By the recipe's names of them."""
    critic: Tuned | None = None


@dataclass(frozen=True, slots=True)
class Ranks:
    """What a learner is to be spread over."""

    device_type: str
    """`cpu` or `cuda`: what they compute on."""
    start: Callable[[], Sequence[Rank]]
    here: bool = True
    """Whether on this machine."""


def open_models(recipe: Recipe, ranks: Ranks | None) -> Models:
    """Load what the recipe says, on ranks; None: in this process."""
    if ranks is not None:
        group = LearnerGroup(recipe, ranks.start())
        frozen = {name: group.frozen(name) for name in recipe.frozen}
        return Models(group, frozen, group.critic() if recipe.critic is not None else None)
    return _in_this_process(recipe)


def _in_this_process(recipe: Recipe) -> Models:
    device, checkpoint = torch.device(recipe.device_type), recipe.checkpoint
    torch.manual_seed(recipe.seed)
    learner = LocalLearner(
        load_model(recipe.model, torch.float32),
        device=device,
        compute_dtype=recipe.compute_dtype,
        optimizer=recipe.optimizer,
        pack_size=recipe.pack_size,
        lora=recipe.lora,
        tokenizer=recipe.tokenizer,
    )
    if checkpoint is not None:
        learner.load_state_dict(load_state(checkpoint / "tuner_state" / LEARNER_STATE))
    frozen = {
        name: FrozenModel(
            load_model(part.model, torch.float32),
            device=device,
            dtype=recipe.compute_dtype,
            pack_size=recipe.pack_size,
            top=part.top,
        )
        for name, part in recipe.frozen.items()
    }
    critic = None
    if recipe.critic is not None:
        torch.manual_seed(recipe.seed)
        critic = LocalCritic(
            load_model(recipe.critic.model, torch.float32),
            device=device,
            compute_dtype=recipe.compute_dtype,
            optimizer=recipe.critic.optimizer,
            pack_size=recipe.pack_size,
            lora=recipe.lora,
        )
        if checkpoint is not None:
            critic.load(checkpoint)
    return Models(learner, frozen, critic)


def ranks_of_this_machine(count: int) -> Ranks:
    """So many processes. Raises InputError if they cannot have a GPU each, where there are any."""
    gpus = torch.cuda.device_count()
    if 0 < gpus < count:
        raise InputError(
            f"trainer.ranks is {count}, each with a GPU to itself, and this machine has {gpus}."
        )
    return Ranks(default_device().type, partial(ranks_here, count))


def refuse_other_learners_checkpoint(checkpoint: Path | None, *, on_ranks: bool) -> None:
    """Raise InputError if a checkpoint is of a learner of the other kind."""
    if checkpoint is None:
        return
    state = checkpoint / "tuner_state"
    if on_ranks and (state / LEARNER_STATE).exists():
        raise InputError(
            f"{checkpoint} was written by a learner without ranks: leave trainer.ranks out to go "
            "on."
        )
    if not on_ranks and (state / UPDATES).exists():
        raise InputError(
            f"{checkpoint} was written by a learner on ranks: set trainer.ranks, to any number, to "
            "go on."
        )
