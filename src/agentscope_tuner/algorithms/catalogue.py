"""Algorithms and their parts by name.

Every module of this package is looked through: subclasses of `Advantage` and of `PolicyLoss` that
have a name, and instances of `AlgorithmType`, are known by it. So adding one touches one file.
Without a fork, a name may be `package.module:Name`, or an entry point of the group
`agentscope_tuner.algorithms` (see `agentscope_tuner.registry`).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from agentscope_tuner import algorithms
from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.functions import load_function
from agentscope_tuner.registry import unknown

ENTRY_POINTS = "agentscope_tuner.algorithms"


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


def named(key: str, name: str, known: Mapping[str, Any], base: type) -> Any:
    """What has this name, or is found where it says; `base` is what it must be.

    Raises InputError, which lists what is known, for an unknown name and for what does not fit.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        raise unknown(key, name, sorted(known))
    item: Any = load_function(name)
    bases = (base, Algorithm) if base is AlgorithmType else (base,)
    if not (isinstance(item, base) or (isinstance(item, type) and issubclass(item, bases))):
        raise InputError(f"{key} {name} is no {base.__name__}")
    return item


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
