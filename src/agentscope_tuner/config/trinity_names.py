"""Keys that Trinity-RFT calls otherwise, brought under the names that this tree has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscope_tuner.config.keys import Path
from agentscope_tuner.config.trees import Tree, contains, overridden, value_at, without
from agentscope_tuner.config.trinity_table import other_names
from agentscope_tuner.errors import InputError


def under_our_names(tree: Mapping[str, Any]) -> tuple[Tree, dict[Path, Path]]:
    """The tree with such keys moved, and where each that was moved had been written.

    In a list of sections (`model.lora_configs`) one that is left out counts as Trinity's default.
    Raises InputError if two names of one key say different things.
    """
    result: Tree = dict(tree)
    moved: dict[Path, Path] = {}
    for row in other_names():
        written, ours = _path(row.name), _path(row.why)
        if contains(tree, written):
            value = value_at(tree, written)
            result = without(result, written)
        elif _path(row.section)[-1] == 0 and contains(tree, _path(row.section)):
            value = None if contains(tree, ours) else row.default
        else:
            continue
        if value is None:
            continue
        value = row.where.get(value, value) if row.where else value
        if contains(tree, ours) and value_at(tree, ours) != value:
            raise InputError(
                f"{row.name} and {row.why} are two names of one setting, but say "
                f"{value_at(tree, written)!r} and {value_at(tree, ours)!r}: leave one of them out"
            )
        result = overridden(result, {row.why: value})
        moved[ours] = written
    return result, moved


def _path(name: str) -> Path:
    return tuple(int(part) if part.isdecimal() else part for part in name.split("."))
