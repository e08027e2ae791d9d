"""Tensors and numbers in one file, read back without executing anything that is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from agentscope_tuner.errors import RunError

_LEAVES = {type(None), bool, int, float, str, bytes}


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dicts, lists and tuples of tensors, numbers, strings and None.

    Raises:
        TypeError: something else is in it, which `load_state` would refuse when it is too late.
    """
    _check(state, "state")
    # Torch drops the reason for a failed write (a full disk) unless the file is ours.
    with path.open("wb") as file:
        torch.save(state, file)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; tensors come back on the CPU.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(f"{path} cannot be read: {error}") from error
    return state


def _check(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, f"a key of {where}")
            _check(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    # `type`, not `isinstance`: numpy's float64 is a float, but is not written as one
    elif type(value) not in _LEAVES and not isinstance(value, torch.Tensor):
        raise TypeError(
            f"{where} is a {type(value).__name__}; only tensors and plain values can be saved."
        )
