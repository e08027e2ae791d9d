"""What computes: the samplers behind the chat service, the learner, and the models beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import torch

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.build.data import reader, samples_of
from agentscope_tuner.build.ranks import build_ranks, refuse_other_learners_checkpoint
from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.config.algorithm import AdamW
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import Columns
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
from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.critic import LocalCritic
from agentscope_tuner.training.learner import LEARNER_STATE, LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.self_teacher import SelfTeacher
from agentscope_tuner.training.sharded.group import LearnerGroup
from agentscope_tuner.workflow import JudgeType, WorkflowType

Weights = Mapping[str, torch.Tensor]
ENOUGH_ON_A_PROCESSOR = 512
"""Tokens of a pack: its products are as fast there as those of a larger one, which takes more
memory."""


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
    if weights is None:
        refuse_what_does_not_fit(files, sampling_needs(config, files), training=False)
    async with AsyncExitStack() as opened:
        sampler = start_sampler(settings, files, weights, device, config.deterministic)
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


def _pack_size(config: Config, files: ModelFiles, device: torch.device) -> PackSize:
    """What goes into one pass of the learner."""
    if not config.trainer.use_dynamic_bsz:
        return PackSize(1)
    longest = 2 * max_length(config.trained_model(), files.config)
    most = config.trainer.max_token_len_per_gpu or longest
    return PackSize(most, enough=ENOUGH_ON_A_PROCESSOR) if device.type == "cpu" else PackSize(most)


def build_learning(
    config: Config,
    files: ModelFiles,
    algorithm: Algorithm,
    total_steps: int,
    checkpoint: Path | None,
) -> Learning:
    """The learner of a run, where the checkpoint left it if there is one, and what is beside it."""
    device = default_device()
    experts_of_a_step = build_experts(config, algorithm, files)
    companions = Companions.find(config, algorithm, files)
    ranks = config.trainer.ranks
    refuse_other_learners_checkpoint(checkpoint, ranks)
    refuse_what_does_not_fit(files, tuning_needs(config, files, companions), training=True)
    pack_size = _pack_size(config, files, device)
    lora, dtype = config.model.lora, training_dtype(config, device)
    adapters = lora_settings(lora) if lora.rank else None
    optimizer = optimizer_settings(
        config.algorithm.optimizer, config.trainer.grad_clip, total_steps
    )
    torch.manual_seed(config.seed)  # the adapters' initial weights
    others: dict[str, Columns] = {}
    learner: LocalLearner | LearnerGroup
    if ranks:
        learner, others = build_ranks(
            ranks,
            files,
            companions,
            checkpoint,
            optimizer=optimizer,
            compute_dtype=dtype,
            pack_size=pack_size,
            device=device,
        )
    else:
        # With adapters a checkpoint's model is the merged one, so these start from the original.
        source = files.directory if checkpoint is None or lora.rank else checkpoint
        learner = LocalLearner(
            load_model(source, torch.float32),
            device=device,
            compute_dtype=dtype,
            optimizer=optimizer,
            pack_size=pack_size,
            lora=adapters,
            tokenizer=files.tokenizer,
        )
        if checkpoint is not None:
            learner.load_state_dict(load_state(checkpoint / "tuner_state" / LEARNER_STATE))
        frozen = partial(FrozenModel, device=device, dtype=dtype, pack_size=pack_size)
        if algorithm.needs_reference and not lora.rank:  # which has the reference in itself
            others["reference"] = frozen(load_model(files.directory, torch.float32))
        if companions.teacher is not None:
            model = load_model(companions.teacher.directory, torch.float32)
            teacher = frozen(model, top=algorithm.teacher_top)
            others |= {"teacher": teacher, "teacher_top": teacher}
    if "self_teacher" in algorithm.before_advantages:
        others["self_teacher"] = SelfTeacher(learner, algorithm.hinted)
    critic = None
    if companions.critic is not None:
        torch.manual_seed(config.seed)
        critic = LocalCritic(
            load_model(companions.critic.directory, torch.float32),
            device=device,
            compute_dtype=dtype,
            optimizer=optimizer_settings(
                config.algorithm.critic.optimizer, config.trainer.grad_clip, total_steps
            ),
            pack_size=pack_size,
            lora=adapters,
        )
        if checkpoint is not None:
            critic.load(checkpoint)
    return Learning(
        learner,
        algorithm,
        others=others,
        critic=critic,
        critic_warmup=config.trainer.critic_warmup,
        experts=experts_of_a_step,
        samples_per_update=config.buffer.train_batch_size,
    )


def build_experts(config: Config, algorithm: Algorithm, files: ModelFiles) -> Experts | None:
    """What experts wrote down, for who learns from it.

    Raises InputError, which names the sample, if it cannot be learnt from.
    """
    if not algorithm.needs_experts:
        return None
    dataset = config.buffer.experts
    samples = samples_of(dataset)
    read = reader(config, "conversations", files)
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
