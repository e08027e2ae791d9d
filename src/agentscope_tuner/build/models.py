"""What computes: the samplers behind the chat service, the learner, and the models beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import torch

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.build.data import reader, samples_of
from agentscope_tuner.build.learner import (
    Models,
    Ranks,
    open_models,
    refuse_other_learners_checkpoint,
)
from agentscope_tuner.build.tinker import (
    build_tinker_learner,
    open_tinker_sampler,
    refuse_checkpoint_from_elsewhere,
)
from agentscope_tuner.config.algorithm import AdamW
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.experts import Experts, experts_beside
from agentscope_tuner.engine.learning import Learning
from agentscope_tuner.engine.local import LocalRollouts
from agentscope_tuner.engine.models import (
    POLICY,
    ModelFiles,
    auxiliary_models,
    default_device,
    max_length,
    serve,
    start_sampler,
    training_dtype,
)
from agentscope_tuner.engine.needs import (
    lora_settings,
    refuse_what_does_not_fit,
    sampling_needs,
    tuning_needs,
)
from agentscope_tuner.inference.base import Sampler
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.recipe import Critic, Frozen, Recipe
from agentscope_tuner.training.self_teacher import SelfTeacher
from agentscope_tuner.workflow import JudgeType, WorkflowType

Weights = Mapping[str, torch.Tensor]


async def build_rollouts(
    config: Config,
    files: ModelFiles,
    weights: Weights | None,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
) -> LocalRollouts:
    """The model behind the chat service, and the runner of workflows.

    `weights` are the learner's; None: the model is loaded for sampling alone, if there is memory.
    """
    device, settings = default_device(), config.trained_model()
    async with AsyncExitStack() as opened:
        sampler: Sampler
        if config.model.tinker.enable:
            sampler = await open_tinker_sampler(config, files, weights, opened)
        else:
            sampler = _local_sampler(config, files, weights, device)
        opened.push_async_callback(sampler.close)
        others = config.auxiliary_models()
        rollouts = LocalRollouts(
            serve(POLICY, settings, files, sampler),
            auxiliary_models(others, device, config.deterministic, opened),
            config.explorer,
            workflow_func,
            judge_func,
        )
        rollouts.samplers = opened.pop_all()
    return rollouts


def _local_sampler(
    config: Config, files: ModelFiles, weights: Weights | None, device: torch.device
) -> Sampler:
    settings = config.trained_model()
    if weights is None:
        refuse_what_does_not_fit(files, sampling_needs(config, files), training=False)
    return start_sampler(settings, files, weights, device, config.deterministic)


def _pack_size(config: Config, files: ModelFiles, device: torch.device) -> PackSize:
    """What goes into one pass of the learner."""
    if not config.trainer.use_dynamic_bsz:
        return PackSize(1)
    longest = 2 * max_length(config.trained_model(), files.config)
    most = config.trainer.max_token_len_per_gpu or longest
    return PackSize.on_a_processor(most) if device.type == "cpu" else PackSize(most)


def build_learning(
    config: Config,
    files: ModelFiles,
    algorithm: Algorithm,
    total_steps: int,
    checkpoint: Path | None,
    ranks: Ranks | None = None,
) -> Learning:
    """The learner of a run, where the checkpoint left it if there is one, and what is beside it.

    With `ranks` they are spread over those.
    """
    experts_of_a_step = build_experts(config, algorithm, files)
    companions = Companions.find(config, algorithm, files)
    refuse_other_learners_checkpoint(checkpoint, on_ranks=ranks is not None)
    refuse_checkpoint_from_elsewhere(checkpoint, at_service=config.model.tinker.enable)
    if ranks is None or ranks.here:
        refuse_what_does_not_fit(files, tuning_needs(config, files, companions), training=True)
    device = torch.device(ranks.device_type) if ranks is not None else default_device()
    recipe = recipe_of(config, files, algorithm, companions, total_steps, checkpoint, device)
    if config.model.tinker.enable:
        models = Models(build_tinker_learner(config, files, checkpoint, recipe.optimizer))
    else:
        models = open_models(recipe, ranks)
    others = dict(models.frozen)
    if algorithm.teacher_top:
        others["teacher_top"] = others["teacher"]
    if "self_teacher" in algorithm.before_advantages:
        others["self_teacher"] = SelfTeacher(models.learner, algorithm.hinted)
    return Learning(
        models.learner,
        algorithm,
        others=others,
        critic=models.critic,
        critic_warmup=config.trainer.critic_warmup,
        experts=experts_of_a_step,
        samples_per_update=config.buffer.train_batch_size,
        update_epochs=config.trainer.update_epochs,
    )


def recipe_of(
    config: Config,
    files: ModelFiles,
    algorithm: Algorithm,
    companions: Companions,
    total_steps: int,
    checkpoint: Path | None,
    device: torch.device,
) -> Recipe:
    """What a run's learning loads, and computes on such a device."""
    lora = config.model.lora
    settings = partial(
        optimizer_settings, grad_clip=config.trainer.grad_clip, total_steps=total_steps
    )
    frozen: dict[str, Frozen] = {}
    if companions.reference and not lora.rank:  # with adapters the learner has it in itself
        frozen["reference"] = Frozen(files.directory)
    if companions.teacher is not None:
        frozen["teacher"] = Frozen(companions.teacher.directory, algorithm.teacher_top)
    critic = None
    if companions.critic is not None:
        critic = Critic(companions.critic.directory, settings(config.algorithm.critic.optimizer))
    return Recipe(
        # With adapters a checkpoint's model is the merged one, so these start from the original.
        model=files.directory if checkpoint is None or lora.rank else checkpoint,
        optimizer=settings(config.algorithm.optimizer),
        compute_dtype=training_dtype(config, device),
        pack_size=_pack_size(config, files, device),
        device_type=device.type,
        tokenizer=files.tokenizer,
        checkpoint=checkpoint,
        lora=lora_settings(lora) if lora.rank else None,
        seed=config.seed,
        frozen=frozen,
        critic=critic,
    )


def build_experts(config: Config, algorithm: Algorithm, files: ModelFiles) -> Experts | None:
    """What experts wrote down, for who learns from it.

    Raises InputError, which names the sample, if it cannot be learnt from.
    """
    if not algorithm.needs_experts:
        return None
    dataset = config.buffer.experts
    samples = samples_of(dataset)
    read = reader(config, "conversations", files, dataset.fields)
    assert read is not None
    rollouts = config.buffer.batch_size * config.algorithm.repeat_times
    found = Experts(samples, read, experts_beside(rollouts, dataset.expert_data_ratio), config.seed)
    found.refuse_bad()
    return found


def optimizer_settings(optimizer: AdamW, grad_clip: float, total_steps: int) -> OptimizerSettings:
    """The configured optimizer of a run of this length."""
    return OptimizerSettings(
        lr=optimizer.lr,
        betas=optimizer.betas,
        weight_decay=optimizer.weight_decay,
        schedule=optimizer.lr_scheduler_type,
        min_lr_ratio=optimizer.min_lr_ratio,
        warmup_steps=optimizer.warmup_steps(total_steps),
        total_steps=total_steps,
        grad_clip=grad_clip,
    )
