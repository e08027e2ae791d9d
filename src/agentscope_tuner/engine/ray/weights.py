"""Weights as an object of Ray's store: one copy a node, read in place by every actor there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

Parcel = dict[str, tuple[NDArray[np.uint8], str, tuple[int, ...]]]
"""By name: the bytes, the dtype's name, the shape. NumPy has no bfloat16, so bytes it is."""


@dataclass(frozen=True, slots=True)
class Published:
    """Weights in the store."""

    reference: ray.ObjectRef
    version: int
    size: int
    """In bytes."""


def bytes_of(weights: Mapping[str, Tensor]) -> int:
    """What weights take in the store."""
    return sum(weight.nbytes for weight in weights.values())


def wrapped(weights: Mapping[str, Tensor]) -> Parcel:
    """Weights as arrays, which are views of what is on a CPU."""
    return {name: _wrapped(weight) for name, weight in weights.items()}


def unwrapped(parcel: Parcel) -> dict[str, Tensor]:
    """The weights again, without a copy: read-only where the parcel comes from the store."""
    return {name: _unwrapped(*item) for name, item in parcel.items()}


def _wrapped(weight: Tensor) -> tuple[NDArray[np.uint8], str, tuple[int, ...]]:
    flat = weight.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return flat.numpy(), str(weight.dtype).removeprefix("torch."), tuple(weight.shape)


def _unwrapped(content: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> Tensor:
    kind: torch.dtype = getattr(torch, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nobody writes: samplers copy
        return torch.from_numpy(content).view(kind).view(shape)
