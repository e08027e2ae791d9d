"""Between rollouts and the learner: operators, replay, and where a step's groups come from."""

from __future__ import annotations

from agentscope_tuner.algorithms.base import Algorithm, Data
from agentscope_tuner.build.data import sampling_of
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.batches import Experience
from agentscope_tuner.engine.dynamic_timeout import DynamicTimeout
from agentscope_tuner.engine.experience import FromRollouts, FromSamples, Reader
from agentscope_tuner.engine.greedy import WithGreedy
from agentscope_tuner.engine.over_rollout import OverRollout
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.errors import InputError
from agentscope_tuner.experience.operators import Operators, make_operator
from agentscope_tuner.experience.priorities import make_priority
from agentscope_tuner.experience.replay import Replay, ReplaySettings


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
