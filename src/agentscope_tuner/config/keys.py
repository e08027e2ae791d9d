"""What a configuration key may come to, and the sections that keys live in.

Every key of the tree says what becomes of it, and there is no further way:

* it **takes effect**;
* it **takes effect on a cluster**, and has no meaning in a run on one machine;
* it **takes effect with vLLM**, and has no meaning for a model that another sampler samples;
* it is understood and **has no meaning here** (a knob of an engine that is not in use): a run names
  all such keys that were set, in one line at its start;
* it is understood and **not served**: any value but the harmless default is refused, because
  ignoring it would change the result.

Keys that the tree does not know are refused by `agentscope_tuner.config.problems`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]
"""Where a key is: names of sections, and positions in lists."""


class Outcome(StrEnum):
    """What becomes of a key."""

    EFFECT = "takes effect"
    ON_A_CLUSTER = "takes effect on a Ray cluster, no meaning on one machine"
    WITH_VLLM = "takes effect with `engine_type: vllm`, no meaning without"
    NOT_HERE = "no meaning here"
    NOT_SERVED = "not served"


def effect(default: Any, description: str, **options: Any) -> Any:
    """A key that takes effect. `options` are pydantic's, bounds for one."""
    return declared(Outcome.EFFECT, "", default, description, options)


def on_a_cluster(default: Any, description: str, why: str, **options: Any) -> Any:
    """A key that takes effect on a cluster; `why` ends the notice that names it elsewhere."""
    return declared(Outcome.ON_A_CLUSTER, why, default, description, options)


def with_vllm(default: Any, description: str, why: str, **options: Any) -> Any:
    """A key that takes effect with vLLM; `why` ends the notice that names it without."""
    return declared(Outcome.WITH_VLLM, why, default, description, options)


def not_here(default: Any, description: str, why: str, **options: Any) -> Any:
    """A key without meaning on the engine in use; `why` ends the notice that names it."""
    return declared(Outcome.NOT_HERE, why, default, description, options)


def not_served(default: Any, description: str, why: str, **options: Any) -> Any:
    """A key of which only the default can be had; `why` ends the refusal of any other value."""
    return declared(Outcome.NOT_SERVED, why, default, description, options)


def declared(
    outcome: Outcome, why: str, default: Any, description: str, options: dict[str, Any]
) -> Any:
    """A key of any outcome."""
    extra: dict[str, Any] = {"outcome": outcome, "why": why}
    if callable(default):
        options = {"default_factory": default, **options}
    elif isinstance(default, list | dict):
        options = {"default_factory": partial(copy.copy, default), **options}
    else:
        options = {"default": default, **options}
    return Field(description=description, json_schema_extra=extra, **options)


def but_not(value: str, why: str) -> BeforeValidator:
    """In the annotation of a key: a value that Trinity knows and that is refused by its name, which
    `why` goes on from."""

    def check(given: object) -> object:
        if given == value:
            raise ValueError(f"{value} {why}")
        return given

    return BeforeValidator(check)


class Section(BaseModel):
    """A part of the configuration tree: keys, and further sections."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, data: Any) -> Any:
        """A section or list whose every line is commented out reads as None in YAML."""
        if not isinstance(data, dict):
            return data
        filled = {name for name, field in cls.model_fields.items() if field.default_factory}
        return {key: v for key, v in data.items() if not (v is None and key in filled)}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a tree: where it is, what the schema says of it, its value if there is one."""

    path: Path
    field: FieldInfo
    value: Any = None
    is_set: bool = False
    """Whether it was given, rather than left to its default."""

    @property
    def name(self) -> str:
        """The path as it is written after `--set`."""
        return dotted(self.path)

    @property
    def outcome(self) -> Outcome:
        """What becomes of it."""
        return self._extra["outcome"]

    @property
    def why(self) -> str:
        """Why it has no meaning here, or is not served."""
        return self._extra["why"]

    @property
    def from_table(self) -> bool:
        """Whether Trinity's table declares it, rather than this tree."""
        return from_table(self.field)

    @property
    def default(self) -> Any:
        """Its default value."""
        return self.field.get_default(call_default_factory=True, validated_data={})

    @property
    def _extra(self) -> dict[str, Any]:
        extra = self.field.json_schema_extra
        assert isinstance(extra, dict), f"{self.name} says not what becomes of it"
        return extra


def from_table(field: FieldInfo) -> bool:
    """Whether a field is declared by Trinity's table, rather than by this tree."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("from_table"))


def dotted(path: Path) -> str:
    """`("buffer", "eval_tasksets", 0)` as `buffer.eval_tasksets.0`."""
    return ".".join(map(str, path))


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, or holds a list of; None for a plain key."""
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def fields_of(section: type[Section]) -> list[tuple[str, FieldInfo]]:
    """A section's fields, its own before those it shares with others."""
    of_that_name = (base for base in section.__mro__ if base.__name__ == section.__name__)
    own = {name for base in of_that_name for name in base.__annotations__}
    return sorted(section.model_fields.items(), key=lambda item: item[0] not in own)


def keys_of(section: type[Section], path: Path = ()) -> Iterator[Key]:
    """Every key that a section knows, depth first; an item of a list is written `0`."""
    for name, field in fields_of(section):
        inner = section_of(field)
        if inner is None:
            yield Key((*path, name), field)
        else:
            position: Path = () if field.annotation is inner else (0,)
            yield from keys_of(inner, (*path, name, *position))


def values_of(section: Section, path: Path = ()) -> Iterator[Key]:
    """Every key of a tree with its value, depth first."""
    for name, field in type(section).model_fields.items():
        value, at = getattr(section, name), (*path, name)
        if section_of(field) is None:
            yield Key(at, field, value, name in section.model_fields_set)
        elif isinstance(value, list):
            for position, item in enumerate(value):
                yield from values_of(item, (*at, position))
        else:
            yield from values_of(value, at)
