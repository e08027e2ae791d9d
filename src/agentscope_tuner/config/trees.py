"""Plain nested dictionaries as configuration trees: built, merged, and changed by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agentscope_tuner.errors import InputError

Tree = dict[str, Any]


def tree_of(values: Mapping[str, Any]) -> Tree:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    tree: Tree = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
    return tree


def merged(below: Any, above: Any) -> Any:
    """`above` over `below`: dictionaries by key; items of a list of dictionaries by their name,
    and those without a counterpart below are appended."""
    if isinstance(below, dict) and isinstance(above, dict):
        both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys()}
        return {**below, **above, **both}
    if _dictionaries(below) and _dictionaries(above):
        items = list(below)
        names = [item.get("name") for item in items]
        for item in above:
            if item.get("name") in names:
                at = names.index(item["name"])
                items[at] = merged(items[at], item)
            else:
                items.append(item)
        return items
    return above


def _dictionaries(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def contains(tree: Any, path: Sequence[str | int]) -> bool:
    """Whether something was written at `path`."""
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def value_at(tree: Any, path: Sequence[str | int]) -> Any:
    """What was written at `path`, where something was."""
    for part in path:
        tree = tree[part]
    return tree


def without(tree: Any, path: Sequence[str | int]) -> Any:
    """`tree` without what was written at `path`, or without the plain value or item of a list that
    the path leads through; `tree` itself if nothing was."""
    if not path or not contains(tree, path[:1]):
        return tree
    first, rest = path[0], path[1:]
    below = tree[first]
    kept = [without(below, rest)] if rest and isinstance(below, dict | list) else []
    if isinstance(tree, list):
        at = int(first)
        return [*tree[:at], *kept, *tree[at + 1 :]]
    others = {key: value for key, value in tree.items() if key != first}
    return {**others, first: kept[0]} if kept else others


def parsed(settings: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """`["a.b=1e-5"]` as `{"a.b": 1e-5}`: values are YAML.

    Raises InputError for a setting that is not `key=value`, or whose value is no YAML.
    """
    if isinstance(settings, Mapping):
        return dict(settings)
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise InputError(f"--set {setting}: must be key=value, as in model.temperature=0")
        try:
            read: Any = OmegaConf.to_container(
                OmegaConf.from_dotlist([f"value={text}"]), resolve=True
            )
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            problem = str(error).splitlines()[0]
            raise InputError(f"--set {setting}: the value is no YAML: {problem}") from None
        values[key] = read["value"]
    return values


def overridden(tree: Tree, settings: Mapping[str, Any]) -> Tree:
    """`tree` with the value at each path replaced; numbers in a path are positions in lists.

    Raises InputError if a path leads through a plain value or out of a list.
    """
    for key, value in settings.items():
        tree = _replaced(tree, key.split("."), value, key)
    return tree


def planted(tree: Tree, path: Sequence[str | int], value: Any) -> Tree:
    """`tree` with a value at `path`; sections and items of lists come to be on the way."""
    return cast(Tree, _grown(tree, path, value))


def _grown(node: Any, path: Sequence[str | int], value: Any) -> Any:
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        items = list(node or [])
        items += [None] * (first + 1 - len(items))
        items[first] = _grown(items[first], rest, value)
        return items
    below = node or {}
    return {**below, first: _grown(below.get(first), rest, value)}


def _replaced(node: Any, path: Sequence[str], value: Any, key: str) -> Any:
    if not path:
        return value
    first, rest = path[0], path[1:]
    if node is None:
        node = {}
    if isinstance(node, dict):
        return {**node, first: _replaced(node.get(first), rest, value, key)}
    if isinstance(node, list) and first.isdecimal() and int(first) < len(node):
        at = int(first)
        return [*node[:at], _replaced(node[at], rest, value, key), *node[at + 1 :]]
    if isinstance(node, list):
        raise InputError(f"--set {key}: {first} is no position in a list of {len(node)}")
    raise InputError(f"--set {key}: {first} lies below a plain value, {node!r}")
