"""Algorithms and their parts by name.

Every module of this package is looked through: subclasses of `Advantage` and of `PolicyLoss` that
have a name, and instances of `AlgorithmType`, are known by it. So adding one touches one file.
Without a fork, a name may be `package.module:Name`, or an entry point of the group
`agentscope_tuner.algorithms`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_args

from agentscope_tuner import algorithms
from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.aggregation import Aggregation
from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.kl import KL_ESTIMATORS, KlTerm
from agentscope_tuner.algorithms.mismatch import Correction
from agentscope_tuner.algorithms.policy_gradient import PolicyGradient
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.algorithms.value_loss import ValueLoss
from agentscope_tuner.errors import InputError
from agentscope_tuner.functions import load_function

ENTRY_POINTS = "agentscope_tuner.algorithms"
Part = TypeVar("Part", Advantage, PolicyLoss)


@dataclass(frozen=True)
class AlgorithmSettings:
    """What a configuration says of an algorithm; None: as the type has it."""

    algorithm_type: str = "multi_step_grpo"
    advantage_fn: str | None = None
    advantage_fn_args: Mapping[str, Any] = field(default_factory=dict)
    policy_loss_fn: str | None = None
    policy_loss_fn_args: Mapping[str, Any] = field(default_factory=dict)
    kl_loss_fn: str | None = None
    kl_loss_fn_args: Mapping[str, Any] = field(default_factory=dict)
    kl_penalty_fn: str | None = None
    kl_penalty_fn_args: Mapping[str, Any] = field(default_factory=dict)
    entropy_coef: float = 0.0
    loss_agg_mode: str | None = None
    aggregation_length: int = 1
    """The constant L of `seq-mean-token-sum-norm`."""
    importance_correction: str = "none"
    importance_correction_args: Mapping[str, Any] = field(default_factory=dict)
    cliprange_value: float = 0.5
    """Of the critic, where there is one."""


@dataclass(frozen=True)
class Catalogue:
    """Everything that has a name."""

    types: Mapping[str, AlgorithmType | type[Algorithm]]
    advantages: Mapping[str, type[Advantage]]
    losses: Mapping[str, type[PolicyLoss]]


@cache
def catalogue() -> Catalogue:
    """What this package and the installed entry points offer."""
    found = Catalogue({}, {}, {})
    for item in (*_own(), *(point.load() for point in entry_points(group=ENTRY_POINTS))):
        _enter(found, item)
    return found


def get_algorithm(settings: AlgorithmSettings | None = None, **changes: Any) -> Algorithm:
    """The configured algorithm.

    Raises InputError, which lists what is known, for an unknown name or argument, and for one that
    would have no effect.
    """
    given = settings or AlgorithmSettings(**changes)
    kind = _named("algorithm_type", given.algorithm_type, catalogue().types, AlgorithmType)
    if not isinstance(kind, AlgorithmType):
        return kind()
    advantage_name = given.advantage_fn or kind.advantage_fn
    loss_name = given.policy_loss_fn or kind.policy_loss_fn
    aggregation = given.loss_agg_mode or kind.loss_agg_mode
    if aggregation not in get_args(Aggregation):
        raise _unknown("loss_agg_mode", aggregation, get_args(Aggregation))
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
        correction=Correction.of(given.importance_correction, given.importance_correction_args),
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
    _refuse_without_effect(algorithm, given)
    return algorithm


def _refuse_without_effect(algorithm: PolicyGradient, given: AlgorithmSettings) -> None:
    if algorithm.kl_loss is not None and given.kl_loss_fn == "k1":
        raise InputError(
            "kl_loss_fn k1 has no gradient on average, so it regularises nothing: take k2, "
            "low_var_kl, or k1 as kl_penalty_fn, in the reward"
        )
    if algorithm.policy_loss.weighs_tokens and given.loss_agg_mode is not None:
        raise InputError(
            f"loss_agg_mode has no effect with policy_loss_fn {algorithm.policy_loss.name}, which "
            "says itself what each token weighs; leave it out"
        )
    if algorithm.data == "rollouts":
        return
    useless = {
        "importance_correction": given.importance_correction != "none",
        "kl_penalty_fn": algorithm.kl_penalty is not None,
        "advantage_fn": given.advantage_fn is not None,
    }
    if names := [name for name, is_set in useless.items() if is_set]:
        raise InputError(
            f"algorithm {algorithm.name} learns from {algorithm.data}, not from rollouts, and has "
            f"no use for {', '.join(names)}; leave it out"
        )


def _kl(
    key: str, name: str | None, args: Mapping[str, Any], defaults: Mapping[str, Any]
) -> KlTerm | None:
    if name in (None, "none"):
        if args.get("kl_coef"):
            raise InputError(f"{key}_args.kl_coef has no effect without a {key}")
        return None
    assert name is not None
    if name not in KL_ESTIMATORS:
        raise _unknown(key, name, ("none", *KL_ESTIMATORS))
    settings = {**defaults, **args}
    _check_arguments(f"{key}_args", name, settings, [f.name for f in fields(KlTerm)][1:])
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
    part = _named(key, name, known, base)
    for argument, why in getattr(part, "refused", {}).items():
        if argument in args:
            raise InputError(f"algorithm.{key}_args.{argument} is not served by {name}: {why}")
    _check_arguments(f"{key}_args", name, args, [f.name for f in fields(part)])
    return part(**{**defaults, **args})


def _check_arguments(key: str, part: str, args: Mapping[str, Any], known: list[str]) -> None:
    for name in args:
        if name not in known:
            raise _unknown(f"algorithm.{key}: an argument of {part},", name, known)


def _named(key: str, name: str, known: Mapping[str, Any], base: type) -> Any:
    if name in known:
        return known[name]
    if ":" not in name:
        raise _unknown(key, name, sorted(known))
    item: Any = load_function(name)
    fits = isinstance(item, base) or (
        isinstance(item, type) and issubclass(item, (base, Algorithm))
    )
    if not fits:
        raise InputError(f"{key} {name} is no {base.__name__}")
    return item


def _unknown(what: str, name: str, known: Any) -> InputError:
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return InputError(f"{what} {name!r} is not known; {hint}known are: {', '.join(known) or '-'}")


def _own() -> Iterator[Any]:
    for info in pkgutil.iter_modules(algorithms.__path__, algorithms.__name__ + "."):
        module = import_module(info.name)
        for item in vars(module).values():
            if getattr(item, "__module__", None) == info.name or isinstance(item, AlgorithmType):
                yield item


def _enter(found: Catalogue, item: Any) -> None:
    if isinstance(item, AlgorithmType):
        found.types[item.name] = item  # type: ignore[index]
        return
    if not isinstance(item, type):
        return
    for base, names in ((Advantage, found.advantages), (PolicyLoss, found.losses)):
        if issubclass(item, base) and hasattr(item, "name"):
            for name in (item.name, *getattr(item, "aliases", ())):
                names[name] = item  # type: ignore[index]
    if issubclass(item, Algorithm) and getattr(item, "name", None):
        found.types[item.name] = item  # type: ignore[index]
