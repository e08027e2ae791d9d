"""From a configuration's settings to an algorithm, or to a refusal by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.aggregation import Aggregation
from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.catalogue import catalogue, named
from agentscope_tuner.algorithms.effects import refuse_without_effect
from agentscope_tuner.algorithms.kl import KL_ESTIMATORS, KlTerm
from agentscope_tuner.algorithms.mismatch import Correction
from agentscope_tuner.algorithms.own import own_algorithm
from agentscope_tuner.algorithms.policy_gradient import PolicyGradient
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.settings import AlgorithmSettings
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.algorithms.value_loss import ValueLoss
from agentscope_tuner.errors import InputError
from agentscope_tuner.registry import check_arguments, unknown

Part = TypeVar("Part", Advantage, PolicyLoss)


def get_algorithm(settings: AlgorithmSettings | None = None, **changes: Any) -> Algorithm:
    """The configured algorithm.

    Raises InputError, which lists what is known, for an unknown name or argument, and for one that
    would have no effect.
    """
    given = settings or AlgorithmSettings(**changes)
    kind = named("algorithm_type", given.algorithm_type, catalogue().types, AlgorithmType)
    if not isinstance(kind, AlgorithmType):
        return own_algorithm(kind, given)
    advantage_name = given.advantage_fn or kind.advantage_fn
    loss_name = given.policy_loss_fn or kind.policy_loss_fn
    default_correction = given.default_correction if kind.data == "rollouts" else "none"
    correction = given.importance_correction or default_correction
    aggregation = given.loss_agg_mode or kind.loss_agg_mode
    if aggregation not in get_args(Aggregation):
        raise unknown("loss_agg_mode", aggregation, get_args(Aggregation))
    algorithm = PolicyGradient(
        name=given.algorithm_type,
        advantage=_part(
            "advantage_fn",
            advantage_name,
            catalogue().advantages,
            Advantage,
            kind.advantage_fn_args if advantage_name == kind.advantage_fn else {},
            given.advantage_fn_args,
        ),
        policy_loss=_part(
            "policy_loss_fn",
            loss_name,
            catalogue().losses,
            PolicyLoss,
            kind.policy_loss_fn_args if loss_name == kind.policy_loss_fn else {},
            given.policy_loss_fn_args,
        ),
        correction=Correction.of(correction, given.importance_correction_args),
        kl_loss=_kl("kl_loss_fn", given.kl_loss_fn, given.kl_loss_fn_args, {}),
        kl_penalty=_kl(
            "kl_penalty_fn",
            given.kl_penalty_fn or kind.kl_penalty_fn,
            given.kl_penalty_fn_args,
            {"kl_coef": kind.kl_coef},
        ),
        entropy_coef=given.entropy_coef,
        aggregation=aggregation,  # type: ignore[arg-type]
        aggregation_length=given.aggregation_length,
        value_loss=ValueLoss(given.cliprange_value),
        data=kind.data,
    )
    refuse_without_effect(algorithm, given)
    return algorithm


def _kl(
    key: str, name: str | None, args: Mapping[str, Any], defaults: Mapping[str, Any]
) -> KlTerm | None:
    if name in (None, "none"):
        if args.get("kl_coef"):
            raise InputError(f"{key}_args.kl_coef has no effect without a {key}")
        return None
    assert name is not None
    if name not in KL_ESTIMATORS:
        raise unknown(key, name, ("none", *KL_ESTIMATORS))
    settings = {**defaults, **args}
    check_arguments(f"algorithm.{key}_args", name, settings, [f.name for f in fields(KlTerm)][1:])
    term = KlTerm(KL_ESTIMATORS[name], **settings)
    return term if term.kl_coef else None


def _part(
    key: str,
    name: str,
    known: Mapping[str, type[Part]],
    base: type[Part],
    defaults: Mapping[str, Any],
    args: Mapping[str, Any],
) -> Part:
    part = named(key, name, known, base)
    for argument, why in getattr(part, "refused", {}).items():
        if argument in args:
            raise InputError(f"algorithm.{key}_args.{argument} is not served by {name}: {why}")
    check_arguments(f"algorithm.{key}_args", name, args, [f.name for f in fields(part)])
    return part(**{**defaults, **args})
