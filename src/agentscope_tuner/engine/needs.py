"""What the models of a configuration need of memory: known before any of them is loaded."""

from __future__ import annotations

from agentscope_tuner.config.model import Lora
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.models import (
    ModelFiles,
    default_device,
    sampling_dtype,
    training_dtype,
)
from agentscope_tuner.inference.memory import (
    Needs,
    count_parameters,
    model_name,
    refuse_too_little_memory,
)
from agentscope_tuner.training.forward import check_trainable
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.memory import critic_bytes, tuning_bytes


def sampling_needs(config: Config, files: ModelFiles) -> dict[str, float]:
    """Bytes of the samplers: the tuned model's copy, and the auxiliary models on this machine.

    Raises InputError if an auxiliary model is none that can be served.
    """
    device, settings = default_device(), config.trained_model()
    needs = {}
    if not config.model.tinker.enable:
        size = sampling_dtype(settings, device).itemsize
        needs["sampler"] = float(count_parameters(files.config) * size)
    seen = set()
    for name, model in config.auxiliary_models().items():
        if model.base_url is None and (model.model_path, model.dtype) not in seen:
            seen.add((model.model_path, model.dtype))
            parameters = count_parameters(ModelFiles.find(model.model_path).config)
            needs[name] = float(parameters * sampling_dtype(model, device).itemsize)
    return needs


def tuning_needs(config: Config, files: ModelFiles, companions: Companions) -> dict[str, float]:
    """The same with the learner and the models beside it.

    Raises InputError if a model is none that can be trained.
    """
    if config.model.tinker.enable:  # the learner is elsewhere, too
        return sampling_needs(config, files)
    check_trainable(files.config)
    lora, dtype = config.model.lora, training_dtype(config, default_device())
    adapters = lora_settings(lora) if lora.rank else None
    learner = tuning_bytes(
        files.config,
        dtype,
        adapters,
        reference=companions.reference,
        merged_at_once=config.trainer.ranks > 0 or config.trained_model().engine_type == "vllm",
    )
    if (teacher := companions.teacher) is not None:
        check_trainable(teacher.config)
        learner["teacher"] = float(count_parameters(teacher.config) * dtype.itemsize)
    if (critic := companions.critic) is not None:
        check_trainable(critic.config)
        learner["critic"] = critic_bytes(critic.config, dtype, adapters)
    if config.trainer.ranks and default_device().type == "cuda":  # a GPU has one rank's part
        learner = {name: needed / config.trainer.ranks for name, needed in learner.items()}
    return learner | sampling_needs(config, files)


def refuse_what_does_not_fit(files: ModelFiles, needs: Needs, *, training: bool) -> None:
    """Raise InputError if the models, which need so much, need more memory than is free."""
    what = "Tuning" if training else "Sampling from"
    refuse_too_little_memory(f"{what} {model_name(files.config)}", needs, default_device())


def lora_settings(lora: Lora) -> LoraSettings:
    """The configured adapters."""
    targets = lora.target_modules
    return LoraSettings(
        rank=lora.rank,
        alpha=lora.alpha,
        target_modules=targets if isinstance(targets, str) else tuple(targets),
    )
