"""`--set key=a,b`: every combination of the values of several keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

from agentscope_tuner.errors import InputError

Combination = dict[str, str]
"""Key -> its value as it is written after `--set`."""


def combinations(settings: Sequence[str]) -> list[Combination]:
    """All of them, the first key's values varying slowest.

    A list is one value in its brackets. Raises InputError: no key, twice the same one, or none with
    several values.
    """
    axes: dict[str, list[str]] = {}
    for setting in settings:
        key, equals, values = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: write key=value,value.")
        if key in axes:
            raise InputError(f"--set {key} is there twice: write its values after one another.")
        if key == "name":
            raise InputError(
                "--set name: the runs have names of their own, which begin with --name."
            )
        axes[key] = _values(setting, values)
        if len({*axes[key]}) < len(axes[key]):
            raise InputError(f"--set {setting}: a value is there twice.")
    if all(len(values) == 1 for values in axes.values()):
        raise InputError("Give a key several values to sweep over: --set key=value,value.")
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def swept(all_of_them: Sequence[Combination]) -> list[str]:
    """The keys that are not the same in all combinations."""
    return [key for key in all_of_them[0] if len({one[key] for one in all_of_them}) > 1]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """As few of the last parts of each key as tell the keys apart."""
    names: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        tails = (".".join(parts[at:]) for at in range(len(parts) - 1, -1, -1))
        others = [f".{other}" for other in keys if other != key]
        names[key] = next(
            (tail for tail in tails if not any(o.endswith(f".{tail}") for o in others)), key
        )
    return names


def run_name(prefix: str, combination: Combination, names: dict[str, str]) -> str:
    """The name of a combination's run: the same one when the sweep is begun again."""
    parts = (f"{short}={combination[key]}" for key, short in names.items())
    return re.sub(r"[^\w.=+-]", "_", "-".join((prefix, *parts)))


def _values(setting: str, text: str) -> list[str]:
    import yaml

    try:
        nodes = yaml.compose(f"[{text}]").value
    except yaml.YAMLError as error:
        raise InputError(f"--set {setting} cannot be read as YAML values.") from error
    spans = [(node.start_mark.index - 1, node.end_mark.index - 1) for node in nodes]
    return [text[start:end].strip() for start, end in spans] or [""]
