"""The learner in shards: what it is made of, and what of a configuration it does not serve."""

from __future__ import annotations

from pathlib import Path

import torch

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import Columns
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.errors import InputError
from agentscope_tuner.training.learner import LEARNER_STATE
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.sharded.group import LearnerGroup
from agentscope_tuner.training.sharded.learner import UPDATES
from agentscope_tuner.training.sharded.recipe import Recipe


def build_ranks(
    ranks: int,
    files: ModelFiles,
    companions: Companions,
    checkpoint: Path | None,
    *,
    optimizer: OptimizerSettings,
    compute_dtype: torch.dtype,
    pack_size: PackSize,
    device: torch.device,
) -> tuple[LearnerGroup, dict[str, Columns]]:
    """The learner on so many ranks, where the checkpoint left it, and the models beside it."""
    frozen = {"reference": files.directory} if companions.reference else {}
    if companions.teacher is not None:
        frozen["teacher"] = companions.teacher.directory
    recipe = Recipe(
        model=checkpoint or files.directory,
        optimizer=optimizer,
        compute_dtype=compute_dtype,
        pack_size=pack_size,
        device_type=device.type,
        tokenizer=files.tokenizer,
        checkpoint=checkpoint,
        frozen=frozen,
    )
    group = LearnerGroup(recipe, ranks)
    return group, {name: group.frozen(name) for name in frozen}


def refuse_what_ranks_do_not_serve(config: Config, algorithm: Algorithm) -> None:
    """Raise InputError, which names it all, if the configured ranks cannot do what is asked."""
    ranks = config.trainer.ranks
    if not ranks:
        return
    asked = algorithm.before_advantages | algorithm.before_updates(1)
    refused = {
        "adapters (model.lora.rank)": config.model.lora.rank > 0,
        "a critic": algorithm.needs_critic,
        "the teacher's likeliest tokens": algorithm.teacher_top > 0,
        "the column expected_push": "expected_push" in asked,
    }
    if names := [name for name, is_asked in refused.items() if is_asked]:
        raise InputError(
            f"A learner on ranks (trainer.ranks is {ranks}) does not have {', '.join(names)}: "
            f"leave trainer.ranks out, or what {config.algorithm.algorithm_type} wants of this."
        )
    gpus = torch.cuda.device_count()
    if 0 < gpus < ranks:
        raise InputError(
            f"trainer.ranks is {ranks}, each with a GPU to itself, and this machine has {gpus}."
        )


def refuse_other_learners_checkpoint(checkpoint: Path | None, ranks: int) -> None:
    """Raise InputError if a checkpoint is of a learner of the other kind."""
    if checkpoint is None:
        return
    state = checkpoint / "tuner_state"
    if ranks and (state / LEARNER_STATE).exists():
        raise InputError(
            f"{checkpoint} was written by a learner without ranks: leave trainer.ranks out to go "
            "on."
        )
    if not ranks and (state / UPDATES).exists():
        raise InputError(
            f"{checkpoint} was written by a learner on ranks: set trainer.ranks, to any number, to "
            "go on."
        )
