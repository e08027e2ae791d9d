"""An `algorithm_type` that is a subclass of `Algorithm`, rather than made of parts.

Where it is a dataclass, its fields are its settings: one that is called like a setting of
`AlgorithmSettings` (`loss_agg_mode`, `entropy_coef`, ...) gets that, any other is an argument under
`algorithm.algorithm_args`. What is configured and not declared is refused by name.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.settings import AlgorithmSettings
from agentscope_tuner.errors import InputError
from agentscope_tuner.registry import unknown

TOLD_ANYWAY = ("algorithm_type", "algorithm_args", "default_correction", "aggregation_length")
"""Settings that nobody has chosen."""


def own_algorithm(kind: type[Algorithm], given: AlgorithmSettings) -> Algorithm:
    """The algorithm with what it declares.

    Raises InputError for a setting or an argument that it does not declare, or misses.
    """
    known = {field.name for field in fields(given)}
    declared: dict[str, Field[Any]] = {}
    if is_dataclass(kind):
        declared = {f.name: f for f in fields(kind) if f.init}
    plain = AlgorithmSettings()
    said = {
        name: getattr(given, name)
        for name in known.difference(TOLD_ANYWAY)
        if getattr(given, name) != getattr(plain, name)
    }
    if useless := sorted(said.keys() - declared.keys()):
        raise InputError(
            f"algorithm_type {given.algorithm_type} declares no {', '.join(useless)}, so it would "
            "have no effect; leave it out, or make it a field of the class"
        )
    if "aggregation_length" in declared:
        said["aggregation_length"] = given.aggregation_length
    arguments = declared.keys() - known
    for name in given.algorithm_args:
        if name not in arguments:
            what = f"algorithm.algorithm_args: an argument of {given.algorithm_type},"
            raise unknown(what, name, sorted(arguments))
    values = {**said, **given.algorithm_args}
    for name, field in declared.items():
        if name not in values and field.default is field.default_factory is MISSING:
            where = "" if name in known else "algorithm_args."
            raise InputError(f"{given.algorithm_type} needs algorithm.{where}{name}")
    return kind(**values)
