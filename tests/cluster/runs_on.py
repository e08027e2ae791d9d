"""How tests say what is to be run where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ray.cluster_utils import Cluster

Tune = Callable[..., Path]
"""Runs the program under a name, with further settings, on a `model`; returns the run directory."""


def on(cluster: Cluster, actors: int = 2) -> tuple[str, str]:
    """The settings of a run on it."""
    engines = f"explorer.rollout_model.engine_num={actors}"
    return f"cluster.ray_address={cluster.address}", engines
