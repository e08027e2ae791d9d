"""What is wrong with a configuration, in one sentence: which key, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from agentscope_tuner.config.keys import (
    Outcome,
    Path,
    dotted,
    from_table,
    keys_of,
    section_of,
    values_of,
)
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.trees import Tree, without
from agentscope_tuner.config.trinity_names import under_our_names
from agentscope_tuner.errors import InputError

Place = Callable[[Path], str]
"""Where a key was written (`config.yaml, line 3`), for messages."""


def validated(tree: Mapping[str, Any], place: Place) -> Config:
    """The configuration that `tree` describes.

    Raises InputError, which names everything that is wrong: unknown keys (with the nearest known
    ones), values that cannot be, and keys that are not served and were set to anything but their
    default.
    """
    tree, moved = under_our_names(tree)

    def written(path: Path) -> str:
        return place(moved.get(path, path))

    config, sentences = _read(tree, written)
    for key in values_of(config) if config is not None else ():
        if key.outcome is Outcome.NOT_SERVED and key.value != key.default:
            sentences.append(
                f"{key.name}: {key.value!r} is not served ({written(key.path)}): {key.why}; "
                f"leave it out or set it to {key.default!r}"
            )
    if sentences or config is None:
        raise InputError("; ".join(sentences))
    return config


def _read(tree: Tree, place: Place) -> tuple[Config | None, list[str]]:
    """What can be read of a tree (None: nothing), and what is wrong with the rest."""
    sentences: list[str] = []
    while True:
        try:
            return Config.model_validate(tree), sentences
        except ValidationError as error:
            problems = error.errors()
        sentences += [_sentence(problem, place, _nearest_key) for problem in problems]
        rest = tree
        for problem in problems:
            rest = without(rest, problem["loc"])
        if rest == tree:
            return None, sentences
        tree = rest


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
    here = dict(section.model_fields) if section else {}
    name = str(path[-1])
    if get_close_matches(name, here, 1):
        return _nearest(name, list(here))
    own = [key for key in keys_of(Config) if not key.from_table]
    elsewhere = {str(key.path[-1]): key.name for key in reversed(own)}
    if close := get_close_matches(name, elsewhere, 1):
        return f"did you mean {elsewhere[close[0]]}?"
    return _nearest(name, [key for key, field in here.items() if not from_table(field)])


def _nearest(name: str, known: list[str]) -> str:
    if close := get_close_matches(name, known, 1):
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(known)}"
