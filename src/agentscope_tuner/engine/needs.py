"""What the models of a configuration need of memory: known before any of them is loaded."""

from __future__ import annotations

from agentscope_tuner.config.model import Lora
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.models import (
    ModelFiles,
    default_device,
    sampling_dtype,
    training_dtype,
)
from agentscope_tuner.inference.memory import (
    count_parameters,
    model_name,
    refuse_too_little_memory,
)
from agentscope_tuner.training.forward import check_trainable
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.memory import tuning_bytes


def sampling_needs(config: Config, files: ModelFiles) -> dict[str, float]:
    """Bytes of the samplers: the tuned model's copy, and the auxiliary models on this machine.

    Raises InputError if an auxiliary model is none that can be served.
    """
    device, settings = default_device(), config.trained_model()
    size = sampling_dtype(settings, device).itemsize
    needs = {"sampler": float(count_parameters(files.config) * size)}
    seen = set()
    for name, model in config.auxiliary_models().items():
        if model.base_url is None and (model.model_path, model.dtype) not in seen:
            seen.add((model.model_path, model.dtype))
            parameters = count_parameters(ModelFiles.find(model.model_path).config)
            needs[name] = float(parameters * sampling_dtype(model, device).itemsize)
    return needs


def tuning_needs(
    config: Config, files: ModelFiles, *, reference: bool, teacher: ModelFiles | None = None
) -> dict[str, float]:
    """The same with the learner; `reference`: whether the algorithm needs the starting model.

    Raises InputError if the model is none that can be trained.
    """
    check_trainable(files.config)
    lora, dtype = config.model.lora, training_dtype(config, default_device())
    learner = tuning_bytes(
        files.config,
        dtype,
        lora_settings(lora) if lora.rank else None,
        reference=reference,
    )
    if teacher is not None:
        check_trainable(teacher.config)
        learner["teacher"] = float(count_parameters(teacher.config) * dtype.itemsize)
    return learner | sampling_needs(config, files)


def refuse_what_does_not_fit(
    config: Config,
    files: ModelFiles,
    *,
    training: bool,
    reference: bool = False,
    teacher: ModelFiles | None = None,
) -> None:
    """Raise InputError if a model cannot be served or trained here, or all of them need more memory
    than is free."""
    if training:
        needs = tuning_needs(config, files, reference=reference, teacher=teacher)
    else:
        needs = sampling_needs(config, files)
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
