"""What is wrong with a configuration, in one sentence: which key, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from agentscope_tuner.config.keys import Outcome, Path, dotted, keys_of, section_of, values_of
from agentscope_tuner.config.schema import Config
from agentscope_tuner.errors import InputError

Place = Callable[[Path], str]
"""Where a key was written (`config.yaml, line 3`), for messages."""


def validated(tree: Mapping[str, Any], place: Place) -> Config:
    """The configuration that `tree` describes.

    Raises InputError: an unknown key (with the nearest known one), a value that cannot be, or a key
    that is not served and was set to anything but its default.
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(
            "; ".join(_sentence(problem, place, _nearest_key) for problem in error.errors())
        ) from None
    for key in values_of(config):
        if key.outcome is Outcome.NOT_SERVED and key.value != key.default:
            raise InputError(
                f"{key.name}: {key.value!r} is not served ({place(key.path)}): {key.why}; "
                f"leave it out or set it to {key.default!r}"
            )
    return config


def argument_error(model: type[BaseModel], error: ValidationError) -> InputError:
    """The same for the arguments of one of the public models."""

    def nearest(path: Path) -> str:
        return _nearest(str(path[-1]), list(model.model_fields))

    sentences = (
        _sentence(problem, lambda path: model.__name__, nearest) for problem in error.errors()
    )
    return InputError("; ".join(sentences))


def _sentence(problem: Any, place: Place, nearest: Callable[[Path], str]) -> str:
    path: Path = problem["loc"]
    where = f"{dotted(path)} ({place(path)})" if path else place(path)
    message = problem["msg"]
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {where}: {nearest(path)}"
        case "missing":
            return f"{where} is missing"
        case "value_error":
            return f"{where}: {message.removeprefix('Value error, ')}"
        case "model_type":
            return f"{where} is {problem['input']!r}, but it is a section with keys of its own"
    should = message.removeprefix("Input should be ")
    return f"{where} is {problem['input']!r}, but it should be {should}"


def _nearest_key(path: Path) -> str:
    """A hint at what an unknown key may have meant: here, or the same name elsewhere."""
    section: type[Any] | None = Config
    for part in path[:-1]:
        if not isinstance(part, int):
            section = section_of(section.model_fields[part]) if section else None
    here = list(section.model_fields) if section else []
    name = str(path[-1])
    if name not in here and not get_close_matches(name, here, 1):
        elsewhere = {str(key.path[-1]): key.name for key in reversed([*keys_of(Config)])}
        if close := get_close_matches(name, elsewhere, 1):
            return f"did you mean {elsewhere[close[0]]}?"
    return _nearest(name, here)


def _nearest(name: str, known: list[str]) -> str:
    if close := get_close_matches(name, known, 1):
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(known)}"
