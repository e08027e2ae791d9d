"""Data selectors: in which order samples are drawn.

Each is a pure function of its seed, how much it has drawn, and (difficulty-based) what it was told,
so its state is small and resuming is exact. `make_selector` knows them by their names in the
configuration; one of your own is called like these: with `size` or `features_SF` and, if it has
such parameters, `seed` and the `kwargs`, which are keyword-only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.errors import InputError
from agentscope_tuner.registry import Registry, check_arguments
from agentscope_tuner.tasks.difficulty import DifficultyEstimator


class Selector(Protocol):
    """Which samples come next."""

    def take(self, count: int) -> list[int]:
        """Indices of the next `count` samples."""
        ...

    def update(self, indices: Sequence[int], rewards: Sequence[float]) -> None:
        """Hear the mean reward that each of these samples got."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class _Cursor:
    """What all selectors share: how many samples were drawn so far."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.position = 0

    def update(self, indices: Sequence[int], rewards: Sequence[float]) -> None:
        """Most selectors do not listen."""

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


class _EpochSelector(_Cursor):
    """Goes through an order of all samples, epoch after epoch."""

    def order(self, epoch: int) -> Sequence[int]:
        raise NotImplementedError

    def take(self, count: int) -> list[int]:
        taken: list[int] = []
        while len(taken) < count:
            epoch, start = divmod(self.position, self.size)
            part = self.order(epoch)[start : start + count - len(taken)]
            self.position += len(part)
            taken.extend(int(index) for index in part)
        return taken


class _BatchSelector(_Cursor):
    """Draws each batch by itself; a sample is in it twice only if the batch is the larger one."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        raise NotImplementedError

    def take(self, count: int) -> list[int]:
        taken: list[int] = []
        while len(taken) < count:
            rng = np.random.default_rng([self.seed, self.position])
            part = self.draw(min(count - len(taken), self.size), rng)
            self.position += len(part)
            taken.extend(part.tolist())
        return taken


class SequentialSelector(_EpochSelector):
    """The dataset's own order, every epoch."""

    def order(self, epoch: int) -> Sequence[int]:
        return range(self.size)


class ShuffleSelector(_EpochSelector):
    """A new order of all samples each epoch."""

    def order(self, epoch: int) -> Sequence[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.size).tolist()


class RandomSelector(_BatchSelector):
    """Each batch drawn from all samples, independent of the ones before."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.permutation(self.size)[:count]


class EasyToHardSelector(_EpochSelector):
    """A curriculum: from high to low values of features that say how easy a sample is.

    The first feature (a pass rate, for one) counts most, the next ones break its ties.
    """

    def __init__(self, features_SF: NDArray[np.float64]) -> None:
        super().__init__(len(features_SF))
        self._order = np.lexsort(-features_SF.T[::-1]).tolist()

    def order(self, epoch: int) -> Sequence[int]:
        return self._order


class DifficultySelector(_BatchSelector):
    """Draws samples whose estimated pass rate is near a target (BOTS, arXiv:2510.26374).

    The features are the pass rates of a weaker and of a stronger model. A sample's score is minus
    the distance of its pass rate from `target_reward`; `tau` is the temperature of the draw (0: the
    best ones), and with `do_sample` the pass rate is drawn from its posterior (Thompson sampling)
    instead of taken at its mean. `m`, `lamb`, `rho`, `adaptive_rho`: see `DifficultyEstimator`.
    """

    def __init__(
        self,
        features_SF: NDArray[np.float64],
        seed: int,
        *,
        target_reward: float = 1.0,
        tau: float = 1.0,
        do_sample: bool = False,
        m: int = 16,
        lamb: float = 0.2,
        rho: float = 0.2,
        adaptive_rho: bool = False,
    ) -> None:
        super().__init__(len(features_SF), seed)
        if features_SF.shape[1] != 2:
            raise InputError(
                "The selector 'difficulty_based' takes two feature_keys, the pass rates of a "
                f"weaker and of a stronger model, not {features_SF.shape[1]}."
            )
        self.target_reward = target_reward
        self.tau = tau
        self.do_sample = do_sample
        self.estimator = DifficultyEstimator(
            features_SF, m=m, lamb=lamb, rho=rho, adaptive_rho=adaptive_rho
        )

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        pass_rates_S = self.estimator.pass_rates(rng if self.do_sample else None)
        scores_S = -np.abs(self.target_reward - pass_rates_S)
        if self.tau > 0:  # Gumbel noise and a top-k draw from the softmax without replacement
            scores_S = scores_S / self.tau + rng.gumbel(size=self.size)
        return np.argsort(-scores_S, kind="stable")[:count]

    def update(self, indices: Sequence[int], rewards: Sequence[float]) -> None:
        self.estimator.update(indices, rewards)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"estimator": self.estimator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.estimator.load_state_dict(state["estimator"])


SELECTORS: Registry[Callable[..., Selector]] = Registry(
    "selector_type",
    "agentscope_tuner.selectors",
    {
        "sequential": SequentialSelector,
        "shuffle": ShuffleSelector,
        "random": RandomSelector,
        "offline_easy2hard": EasyToHardSelector,
        "difficulty_based": DifficultySelector,
    },
)
"""Every selector."""


def make_selector(
    samples: Any,
    selector_type: str = "shuffle",
    *,
    seed: int = 0,
    feature_keys: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Selector:
    """The selector of this name over `samples` (a `datasets.Dataset` or a list of dictionaries).

    Raises InputError: an unknown name or keyword (the message lists the known ones), feature keys
    that are missing, not numeric, or given to a selector that uses none.
    """
    make = SELECTORS.find(selector_type)
    known = inspect.signature(make).parameters
    options = sorted(name for name, p in known.items() if p.kind is p.KEYWORD_ONLY)
    check_arguments("data_selector.kwargs", selector_type, kwargs or {}, options)
    given: dict[str, Any] = {"seed": seed} if "seed" in known else {}
    if "features_SF" in known:
        given["features_SF"] = _features(samples, feature_keys, selector_type)
    elif feature_keys:
        raise InputError(f"The selector {selector_type!r} uses no feature_keys: leave them out.")
    else:
        given["size"] = len(samples)
    return make(**given, **(kwargs or {}))


def _features(samples: Any, keys: Sequence[str], selector_type: str) -> NDArray[np.float64]:
    """One row a sample, one column a key."""
    if not keys:
        raise InputError(f"The selector {selector_type!r} needs feature_keys: fields to go by.")
    there = list(samples[0])
    for key in keys:
        if key not in there:
            raise InputError(
                f"The dataset has no field {key!r} for feature_keys; it has {', '.join(there)}."
            )
    try:
        features = np.array([[sample[key] for key in keys] for sample in samples], np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The fields {list(keys)} of feature_keys must be numbers.") from error
    if not np.isfinite(features).all():
        raise InputError(f"The fields {list(keys)} of feature_keys must be finite numbers.")
    return features
