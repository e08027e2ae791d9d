"""Trinity-RFT's keys, added from the table to the sections that are Trinity's too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, get_origin

from pydantic import Field, create_model

from agentscope_tuner.config.keys import Outcome, Section, declared
from agentscope_tuner.config.trinity_table import Row, keys_of, sections_of

S = TypeVar("S", bound=Section)


def with_trinitys_keys(path: str) -> Callable[[type[S]], type[S]]:
    """Decorates the section that is at `path` in Trinity's tree: it gets all keys and sections that
    `agentscope_tuner.config.trinity_table` has there and that it does not declare itself."""

    def extend(section: type[S]) -> type[S]:
        fields = {
            row.key: (Any, _key(row))
            for row in keys_of(path)
            if row.key not in section.model_fields
        }
        for name, below in sections_of(path).items():
            if name not in section.model_fields | fields.keys():
                fields[name] = _section(name, below)
        extended = create_model(
            section.__name__,
            __base__=section,
            __module__=section.__module__,
            __doc__=section.__doc__,
            **cast(Any, fields),
        )
        return cast(type[S], extended)

    return extend


def _key(row: Row) -> Any:
    field = declared(Outcome(row.outcome), row.why, row.default, row.meaning, {})
    field.json_schema_extra["from_table"] = True
    return field


def _section(name: str, path: str) -> tuple[Any, Any]:
    empty = create_model(name, __base__=Section, __doc__="A section of Trinity-RFT's.")
    section = with_trinitys_keys(path)(empty)
    annotation: Any = list[section] if path.endswith(".0") else section  # type: ignore[valid-type]
    return annotation, Field(default_factory=get_origin(annotation) or section)
