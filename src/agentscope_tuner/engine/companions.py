"""The models that an algorithm needs beside the one that is tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.config.algorithm import Critic
from agentscope_tuner.config.buffer import ExpertData
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.written import unread
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.errors import InputError


@dataclass(frozen=True, slots=True)
class Companions:
    """None of them is loaded yet."""

    reference: bool = False
    """Whether the starting model stays beside the tuned one."""
    teacher: ModelFiles | None = None
    critic: ModelFiles | None = None
    """The model that it begins from."""

    @classmethod
    def find(cls, config: Config, algorithm: Algorithm, files: ModelFiles) -> Companions:
        """Those of a run that tunes `files`. Raises InputError if one reads other tokens."""
        teacher, critic = config.model.teacher_model_path, config.model.critic_model_path
        return cls(
            algorithm.needs_reference,
            None if teacher is None else find_companion("teacher", teacher, files),
            None
            if not algorithm.needs_critic
            else files
            if critic is None
            else find_companion("critic", critic, files),
        )


def refuse_useless(config: Config, algorithm: Algorithm) -> None:
    """Raise InputError if there is no teacher or no expert data for who needs it, or settings of
    these or of a critic for who needs none."""
    name, model = config.algorithm.algorithm_type, config.model
    if algorithm.needs_teacher and model.teacher_model_path is None:
        raise InputError(f"{name} needs a teacher: name one as model.teacher_model_path.")
    experts = config.buffer.experts
    if algorithm.needs_experts and experts.path is None:
        raise InputError(
            f"{name} needs expert data: name a dataset of conversations as buffer.experts.path."
        )
    useless: dict[str, Any] = {
        "model.teacher_model_path": not algorithm.needs_teacher and model.teacher_model_path,
        "model.critic_model_path": not algorithm.needs_critic and model.critic_model_path,
        "trainer.critic_warmup": not algorithm.needs_critic and config.trainer.critic_warmup,
        "algorithm.critic": not algorithm.needs_critic
        and config.algorithm.critic.model_dump() != Critic().model_dump(),
    }
    fields = unread(config.buffer.explorer_input.taskset.fields, algorithm.data)
    useless |= {f"buffer.explorer_input.taskset.fields.{field}": True for field in fields}
    if not algorithm.needs_experts:
        useless |= {
            "buffer.experts": experts.model_dump() != ExpertData().model_dump(),
            "entropy_loss_fn mix": config.algorithm.entropy_loss_fn == "mix",
        }
    if keys := [key for key, is_useless in useless.items() if is_useless]:
        raise InputError(f"{name} has no use for {', '.join(keys)}; leave it out.")


def find_companion(role: str, path: str, tuned: ModelFiles) -> ModelFiles:
    """The files of a model that reads the tuned one's tokens: its teacher, or its critic.

    Raises InputError unless it has the same tokens.
    """
    found = ModelFiles.find(path)
    if found.tokenizer.get_vocab() != tuned.tokenizer.get_vocab():
        raise InputError(
            f"The {role} {path} has another tokenizer than the model that is tuned: it cannot "
            "judge that model's tokens."
        )
    return found
