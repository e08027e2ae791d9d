"""The composition root: the only place that names concrete classes.

Each part is handed its own section of the configuration, never the whole of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch

from agentscope_tuner.algorithms.base import Algorithm, Data
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.algorithms.settings import AlgorithmSettings
from agentscope_tuner.chat.demonstration import demonstrate, demonstrate_pair, read_text
from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.config.algorithm import AdamW
from agentscope_tuner.config.buffer import RolloutArgs
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import Columns, RolloutSource
from agentscope_tuner.engine.batches import Experience
from agentscope_tuner.engine.companions import Companions, refuse_useless
from agentscope_tuner.engine.dynamic_timeout import DynamicTimeout
from agentscope_tuner.engine.evaluation import Evaluation
from agentscope_tuner.engine.experience import FromRollouts, FromSamples, Reader, experts
from agentscope_tuner.engine.experts import Experts, experts_beside
from agentscope_tuner.engine.greedy import WithGreedy
from agentscope_tuner.engine.learning import Learning
from agentscope_tuner.engine.limits import LimitSettings
from agentscope_tuner.engine.local import LocalRollouts
from agentscope_tuner.engine.models import (
    POLICY,
    ModelFiles,
    auxiliary_models,
    default_device,
    max_length,
    renderer_of,
    sampling_dtype,
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
from agentscope_tuner.engine.over_rollout import OverRollout
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.schedule import Schedule
from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.operators import Operators, make_operator
from agentscope_tuner.experience.priorities import make_priority
from agentscope_tuner.experience.replay import Replay, ReplaySettings
from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.monitor.alerts import Alerts
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.tasks import Taskset, load_samples, make_selector, make_tasks
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.critic import LocalCritic
from agentscope_tuner.training.learner import LEARNER_STATE, LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.self_teacher import SelfTeacher
from agentscope_tuner.workflow import JudgeType, WorkflowType

Weights = Mapping[str, torch.Tensor]


def build_algorithm(config: Config) -> Algorithm:
    """The configured algorithm. Raises InputError if its parts or its group size do not fit."""
    settings = config.algorithm
    algorithm = get_algorithm(
        AlgorithmSettings(
            algorithm_type=settings.algorithm_type,
            advantage_fn=settings.advantage_fn,
            advantage_fn_args=settings.advantage_fn_args,
            policy_loss_fn=settings.policy_loss_fn,
            policy_loss_fn_args=settings.policy_loss_fn_args,
            kl_loss_fn=settings.kl_loss_fn,
            kl_loss_fn_args=settings.kl_loss_fn_args.model_dump(exclude_defaults=True),
            kl_penalty_fn=settings.kl_penalty_fn,
            kl_penalty_fn_args=settings.kl_penalty_fn_args.model_dump(exclude_defaults=True),
            entropy_coef=settings.entropy_loss_fn_args.entropy_coef or 0.0,
            loss_agg_mode=settings.loss_agg_mode,
            aggregation_length=config.trained_model().max_response_tokens,
            importance_correction=settings.importance_correction,
            # Equal precision is not equal numbers (docs/algorithms.md).
            default_correction="truncated",
            importance_correction_args=settings.importance_correction_args,
            algorithm_args=settings.algorithm_args,
            cliprange_value=settings.critic.cliprange_value,
        )
    )
    refuse_useless(config, algorithm)
    if algorithm.compares and settings.repeat_times < 2:
        raise InputError(
            f"{settings.algorithm_type} compares the rollouts of a group, so a group_size of "
            f"{settings.repeat_times} teaches nothing: make it at least 2."
        )
    return algorithm


def build_schedule(config: Config, algorithm: Algorithm) -> Schedule:
    """When the sampler gets new weights, and how far it is ahead of the learner.

    Raises InputError: a lag that max_staleness forbids, or a schedule that depends on speeds where
    the same seed is to give the same weights, or where nothing happens at once.
    """
    if algorithm.data != "rollouts":  # nothing is sampled
        return Schedule()
    settings, bound = config.synchronizer, config.algorithm.sample_strategy_args.max_staleness
    schedule = Schedule(
        interval=settings.sync_interval,
        offset=settings.sync_offset,
        style=settings.sync_style,
        bound=bound,
        overlapped=settings.overlap,
    )
    if schedule.style == "fixed" and schedule.fixed_lag > schedule.max_lag:
        raise InputError(
            f"sync_interval {schedule.interval} and sync_offset {schedule.offset} let rollouts be "
            f"{schedule.fixed_lag} steps old, and max_staleness allows {bound}: lower one of the "
            "two, or raise max_staleness."
        )
    if schedule.by_the_clock and config.deterministic:
        raise InputError(
            f"With sync_style {schedule.style} it depends on speeds which weights draw a rollout, "
            "so the run cannot be deterministic: take sync_style fixed."
        )
    if schedule.by_the_clock and not schedule.overlapped:
        raise InputError(
            f"sync_style {schedule.style} is about rollouts that are drawn while the learner "
            "learns: leave synchronizer.overlap out, or take sync_style fixed."
        )
    return schedule


def build_operators(config: Config, data: Data) -> Operators:
    """What looks at rollouts before they are learnt from.

    Raises InputError: an unknown operator or argument, or one where there are no rollouts.
    """
    configured = config.data_processor.experience_pipeline.operators
    if configured and data != "rollouts":
        raise InputError(
            f"{config.algorithm.algorithm_type} learns from {data}, and operators look at "
            "rollouts: leave data_processor.experience_pipeline.operators out."
        )
    return Operators([make_operator(operator.name, operator.args) for operator in configured])


def build_replay(config: Config, data: Data) -> Replay | None:
    """What keeps rollouts to learn from them again, if anything does.

    Raises InputError: an unknown priority or argument, no number of samples to fill a step up to,
    or no rollouts.
    """
    buffer = config.buffer.trainer_input.experience_buffer
    settings, samples = buffer.replay_buffer, config.buffer.train_batch_size
    if not settings.enable or settings.reuse_cooldown_time is None:
        return None
    if data != "rollouts":
        raise InputError(
            f"{config.algorithm.algorithm_type} learns from {data}, of which there is no replay: "
            "leave replay_buffer.enable out."
        )
    if samples is None:
        raise InputError(
            "replay_buffer fills a step up to buffer.train_batch_size samples (model calls) with "
            "older ones: set it to more than batch_size times repeat_times gives."
        )
    return Replay(
        ReplaySettings(
            priority=make_priority(settings.priority_fn, settings.priority_fn_args),
            samples=samples,
            capacity=buffer.capacity,
            cooldown_s=settings.reuse_cooldown_time,
            max_lag=config.algorithm.sample_strategy_args.max_staleness,
            seed=config.seed,
        )
    )


def refuse_clocks(config: Config) -> None:
    """Raise InputError if the run is to be deterministic and a clock has a say in it."""
    replay = config.buffer.trainer_input.experience_buffer.replay_buffer
    clocks = {
        "explorer.over_rollout.ratio": config.explorer.over_rollout.ratio > 0,
        "explorer.dynamic_timeout.enable": config.explorer.dynamic_timeout.enable,
        "replay_buffer.reuse_cooldown_time (0 can be)": replay.enable
        and bool(replay.reuse_cooldown_time),
    }
    if config.deterministic and (keys := [key for key, is_set in clocks.items() if is_set]):
        raise InputError(
            f"With {', '.join(keys)} a clock decides what is learnt from, so the run cannot be "
            "deterministic: leave one or the other out."
        )


def build_taskset(config: Config) -> Taskset:
    """The tasks to learn from, in the configured order."""
    dataset = config.buffer.explorer_input.taskset
    if dataset.path is None:
        raise InputError("mode bench has no dataset to learn from, only evaluations: run it.")
    samples = load_samples(dataset.path, name=dataset.subset_name, split=dataset.split)
    selector = make_selector(
        samples,
        dataset.data_selector.selector_type,
        seed=config.seed,
        feature_keys=dataset.data_selector.feature_keys,
        kwargs=dataset.data_selector.kwargs,
    )
    return Taskset(
        samples,
        config.buffer.batch_size,
        selector=selector,
        total_epochs=config.buffer.total_epochs,
        total_steps=config.buffer.total_steps,
        workflow_args=dataset.workflow_args,
    )


def build_evaluations(config: Config) -> list[Evaluation]:
    """The held-out sets."""
    sets = []
    for dataset in config.buffer.explorer_input.eval_tasksets:
        assert dataset.path is not None, "checked by the schema"
        samples = load_samples(dataset.path, name=dataset.subset_name, split=dataset.split)
        sets.append(
            Evaluation(
                name=dataset.name,
                tasks=make_tasks(samples, range(len(samples)), workflow_args=dataset.workflow_args),
                sampling=sampling_of(dataset.rollout_args),
                samples=dataset.repeat_times,
            )
        )
    return sets


def sampling_of(arguments: RolloutArgs) -> Sampling:
    """How a dataset's rollouts are sampled."""
    names = {field.name for field in fields(Sampling)} & type(arguments).model_fields.keys()
    return Sampling(**{name: getattr(arguments, name) for name in names})


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
        loaded = load_model(files.directory, sampling_dtype(settings, device))
        weights = dict(loaded.named_parameters())
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
    refuse_what_does_not_fit(files, tuning_needs(config, files, companions), training=True)
    longest = 2 * max_length(config.trained_model(), files.config)
    pack = config.trainer.max_token_len_per_gpu or longest
    pack = pack if config.trainer.use_dynamic_bsz else 1
    lora, dtype = config.model.lora, training_dtype(config, device)
    adapters = lora_settings(lora) if lora.rank else None
    # With adapters a checkpoint's model is the merged one, so these start from the original.
    source = files.directory if checkpoint is None or lora.rank else checkpoint
    torch.manual_seed(config.seed)  # the adapters' initial weights
    learner = LocalLearner(
        load_model(source, torch.float32),
        device=device,
        compute_dtype=dtype,
        optimizer=optimizer_settings(
            config.algorithm.optimizer, config.trainer.grad_clip, total_steps
        ),
        max_tokens_per_pack=pack,
        lora=adapters,
        tokenizer=files.tokenizer,
    )
    if checkpoint is not None:
        learner.load_state_dict(load_state(checkpoint / "tuner_state" / LEARNER_STATE))
    frozen = partial(FrozenModel, device=device, dtype=dtype, max_tokens_per_pack=pack)
    others: dict[str, Columns] = {}
    if algorithm.needs_reference and not lora.rank:  # which has the reference in itself
        others["reference"] = frozen(load_model(files.directory, torch.float32))
    if "self_teacher" in algorithm.before_advantages:
        others["self_teacher"] = SelfTeacher(learner, algorithm.hinted)
    if companions.teacher is not None:
        model = load_model(companions.teacher.directory, torch.float32)
        teacher = frozen(model, top=algorithm.teacher_top)
        others |= {"teacher": teacher, "teacher_top": teacher}
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
            max_tokens_per_pack=pack,
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
    assert dataset.path is not None, "checked with the algorithm"
    samples = load_samples(dataset.path, name=dataset.subset_name, split=dataset.split)
    read = reader(config, "conversations", files)
    assert read is not None
    rollouts = config.buffer.batch_size * config.algorithm.repeat_times
    found = Experts(samples, read, experts_beside(rollouts, dataset.expert_data_ratio), config.seed)
    found.refuse_bad()
    return found


def build_experience(
    config: Config,
    algorithm: Algorithm,
    rollouts: RolloutSource,
    record: RunRecord,
    read: Reader | None,
    operators: Operators,
) -> Experience:
    """Rollouts, or what the dataset's samples hold, as the algorithm wants it; see `reader`."""
    if read is not None:
        return FromSamples(read)
    rollouts = WithGreedy(rollouts) if algorithm.needs_greedy else rollouts
    return build_rollout_experience(config, rollouts, record, operators)


def build_rollout_experience(
    config: Config, rollouts: RolloutSource, record: RunRecord, operators: Operators
) -> FromRollouts:
    """Rollouts of the tasks to learn from."""
    explorer = config.explorer
    over, limit = explorer.over_rollout, explorer.dynamic_timeout
    longest_s = explorer.max_timeout * (explorer.max_retry_times + 1)
    return FromRollouts(
        rollouts,
        record,
        config.algorithm.repeat_times,
        config.seed,
        sampling_of(config.buffer.explorer_input.taskset.rollout_args),
        operators,
        OverRollout(over.ratio, over.wait_after_min, over.return_partial_tasks)
        if over.ratio
        else None,
        DynamicTimeout(limit.ratio, limit.warmup_min_steps, longest_s) if limit.enable else None,
    )


def reader(config: Config, data: Data, files: ModelFiles) -> Reader | None:
    """How a sample of the dataset becomes something to learn from; None: by rollouts."""
    settings, tokenizer = config.trained_model(), files.tokenizer
    longest = max_length(settings, files.config)
    match data:
        case "conversations":
            renderer = renderer_of(settings, files)
            return lambda s: experts(s, demonstrate(renderer, s, longest))
        case "pairs":
            renderer = renderer_of(settings, files)
            return lambda s: experts(s, *demonstrate_pair(renderer, s, longest))
        case "texts":
            key = config.buffer.explorer_input.taskset.text_key
            return lambda s: experts(s, read_text(tokenizer, s, key, longest))
    return None


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


def build_limits(config: Config) -> LimitSettings:
    """When the run ends before its last step. Raises InputError if nothing measures it."""
    names = [dataset.name for dataset in config.buffer.explorer_input.eval_tasksets]
    return LimitSettings(**config.stop.model_dump()).watching(names)


def build_alerts(config: Config) -> Alerts:
    """Who is told of the run."""
    run = f"{config.project}/{config.name}"
    return Alerts(run, config.alerts.command, config.alerts.webhook)
