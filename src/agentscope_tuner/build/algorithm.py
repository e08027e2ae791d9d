"""What is learnt, and when: the algorithm, the schedule, and what ends a run."""

from __future__ import annotations

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.algorithms.settings import AlgorithmSettings
from agentscope_tuner.build.tinker import refuse_what_tinker_does_not_serve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.companions import refuse_useless
from agentscope_tuner.engine.limits import LimitSettings
from agentscope_tuner.engine.schedule import Schedule
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.alerts import Alerts


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
    refuse_what_tinker_does_not_serve(config, algorithm)
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


def build_limits(config: Config) -> LimitSettings:
    """When the run ends before its last step. Raises InputError if nothing measures it."""
    names = [dataset.name for dataset in config.buffer.explorer_input.eval_tasksets]
    return LimitSettings(**config.stop.model_dump()).watching(names)


def build_alerts(config: Config) -> Alerts:
    """Who is told of the run."""
    run = f"{config.project}/{config.name}"
    return Alerts(run, config.alerts.command, config.alerts.webhook)
