"""Parts by name: one mechanism for algorithms, advantages, losses, selectors, operators, monitors.

A part is known by a name of its own. Without a fork a name may be `package.module:Name`, or
`path/to/file.py:Name`, found as workflows are; or that of an entry point of the registry's group,
which an installed package enters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from agentscope_tuner.errors import InputError
from agentscope_tuner.functions import load_function

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Classes of one kind, by the names that a configuration gives them."""

    key: str
    """The configuration's key, for messages."""
    group: str
    """The entry points' group."""
    own: Mapping[str, T]
    """Those of this package."""

    def names(self) -> list[str]:
        """Every name that needs no module."""
        return sorted({*self.own, *(point.name for point in entry_points(group=self.group))})

    def find(self, name: str) -> T:
        """What has this name. Raises InputError, which lists the known names."""
        if name in self.own:
            return self.own[name]
        for point in entry_points(group=self.group):
            if point.name == name:
                found: T = point.load()
                return found
        if ":" not in name:
            raise unknown(self.key, name, self.names())
        return load_function(name)  # type: ignore[return-value]


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that nothing has."""
    names = list(known)
    close = get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return InputError(f"{what} {name!r} is not known; {hint}known are: {', '.join(names) or '-'}")


def check_arguments(key: str, part: str, args: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise InputError for an argument that a part does not have."""
    names = list(known)
    for name in args:
        if name not in names:
            raise unknown(f"{key}: an argument of {part},", name, names)


def made(key: str, name: str, kind: Callable[..., T], args: Mapping[str, Any]) -> T:
    """A part whose class is a dataclass, with these arguments.

    Raises InputError for an argument that it does not have, or misses.
    """
    every: tuple[Field[Any], ...] = fields(kind) if is_dataclass(kind) else ()
    known = [field for field in every if field.init]
    check_arguments(key, name, args, [field.name for field in known])
    for field in known:
        if field.name not in args and field.default is field.default_factory is MISSING:
            raise InputError(f"{key} {name} needs the argument {field.name}")
    return kind(**args)
