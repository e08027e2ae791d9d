"""Algorithms by name: a new one is a new file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.grpo import GroupAdvantage, MultiStepGroupAdvantage
from agentscope_tuner.algorithms.importance import ImportanceCorrection
from agentscope_tuner.algorithms.kl import KL_ESTIMATORS
from agentscope_tuner.algorithms.policy_gradient import PolicyGradient
from agentscope_tuner.algorithms.ppo import ClippedSurrogate
from agentscope_tuner.algorithms.sft import SupervisedFineTuning
from agentscope_tuner.errors import InputError

ADVANTAGES: dict[str, type[GroupAdvantage]] = {
    "grpo": GroupAdvantage,
    "multi_step_grpo": MultiStepGroupAdvantage,
}
POLICY_LOSSES = {"ppo": ClippedSurrogate}
ALGORITHM_TYPES = (*sorted(ADVANTAGES), "sft")

Part = TypeVar("Part")


def get_algorithm(
    algorithm_type: str = "multi_step_grpo",
    *,
    advantage_fn_args: Mapping[str, Any] | None = None,
    policy_loss_fn: str | None = None,
    policy_loss_fn_args: Mapping[str, Any] | None = None,
    kl_loss_fn: str | None = None,
    kl_coef: float = 0.001,
    entropy_coef: float = 0.0,
    importance_correction: ImportanceCorrection = "none",
) -> Algorithm:
    """The algorithm of this name with these parts.

    `policy_loss_fn` None is the algorithm's own (`ppo`, for `sft` its likelihood); `kl_loss_fn`
    None or "none" is no KL term. Raises InputError, which lists what is known, for an unknown name,
    and for an argument that would have no effect.
    """
    _check_known("algorithm_type", algorithm_type, ALGORITHM_TYPES)
    kl_name = None if kl_loss_fn == "none" else kl_loss_fn
    if algorithm_type == "sft":
        given = {
            "advantage_fn_args": advantage_fn_args,
            "policy_loss_fn": policy_loss_fn not in (None, "sft"),
            "policy_loss_fn_args": policy_loss_fn_args,
            "kl_loss_fn": kl_name,
            "entropy_coef": entropy_coef,
            "importance_correction": importance_correction != "none",
        }
        if useless := [name for name, value in given.items() if value]:
            raise InputError(f"algorithm sft has no use for {', '.join(useless)}; leave it out")
        return SupervisedFineTuning()

    loss_name = policy_loss_fn or "ppo"
    _check_known("policy_loss_fn", loss_name, POLICY_LOSSES)
    _check_known("importance_correction", importance_correction, get_args(ImportanceCorrection))
    if kl_name is not None:
        _check_known("kl_loss_fn", kl_name, ("none", *KL_ESTIMATORS))
    advantage = ADVANTAGES[algorithm_type]
    return PolicyGradient(
        name=algorithm_type,
        advantage_fn=_build(advantage, advantage_fn_args, f"advantage_fn_args of {algorithm_type}"),
        policy_loss=_build(
            POLICY_LOSSES[loss_name], policy_loss_fn_args, f"policy_loss_fn_args of {loss_name}"
        ),
        importance_correction=importance_correction,
        kl=None if kl_name is None else KL_ESTIMATORS[kl_name],
        kl_coef=kl_coef,
        entropy_coef=entropy_coef,
    )


def _check_known(what: str, name: str, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    if name not in known:
        raise InputError(f"{what} {name!r} is not known; known are: {', '.join(known)}")


def _build(part: type[Part], args: Mapping[str, Any] | None, where: str) -> Part:
    args = dict(args or {})
    known = [field.name for field in fields(part)]  # type: ignore[arg-type]
    if unknown := [name for name in args if name not in known]:
        raise InputError(
            f"{where} has no {', '.join(map(repr, unknown))}; known are: {', '.join(known)}"
        )
    return part(**args)
