"""Which rollouts are learnt from again: priorities by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from agentscope_tuner.registry import Registry, made


class Priority(Protocol):
    """Rates what was learnt from. A dataclass, whose fields are the `priority_fn_args`."""

    def __call__(self, version: int, uses: int, rng: np.random.Generator) -> float | None:
        """The higher, the sooner; None: not any more. `version` drew it, `uses` is how often it was
        learnt from."""
        ...


@dataclass(frozen=True)
class LinearDecay:
    """version - decay * uses: new before old, little used before much used."""

    name: ClassVar[str] = "linear_decay"

    decay: float = 2.0

    def __call__(self, version: int, uses: int, rng: np.random.Generator) -> float | None:
        """See `Priority`."""
        return version - self.decay * uses


@dataclass(frozen=True)
class LimitedDecay:
    """The same, at most `use_count_limit` times, with normal noise of deviation `sigma`."""

    name: ClassVar[str] = "decay_limit_randomization"

    decay: float = 2.0
    use_count_limit: int = 3
    sigma: float = 0.0

    def __call__(self, version: int, uses: int, rng: np.random.Generator) -> float | None:
        """See `Priority`."""
        if uses >= self.use_count_limit:
            return None
        return version - self.decay * uses + self.sigma * float(rng.standard_normal())


PRIORITIES: Registry[type[Priority]] = Registry(
    "priority_fn",
    "agentscope_tuner.priorities",
    {kind.name: kind for kind in (LinearDecay, LimitedDecay)},
)
"""Every priority."""


def make_priority(name: str, args: Mapping[str, Any]) -> Priority:
    """The priority of this name. Raises InputError for an unknown name or argument."""
    return made("priority_fn", name, PRIORITIES.find(name), args)
