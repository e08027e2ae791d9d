"""Chat models to choose from or to work with: ready ones, and models that are loaded here."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat_model import ChatModelBase, name_of
from agentscope_tuner.config.arguments import TunerModelConfig
from agentscope_tuner.config.resolve import auxiliary_settings
from agentscope_tuner.config.schema import ChatModelSettings
from agentscope_tuner.engine.models import auxiliary_models, default_device
from agentscope_tuner.engine.source import find_source, short_name
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Trajectory

ModelLike = ChatModelBase | TunerModelConfig | str | Path
"""A ready chat model, or what one is made of: a path, a run or a checkpoint, a configuration."""


class OpenModel:
    """A model that can be called."""

    def __init__(self, model: ChatModelBase | ChatService) -> None:
        self._model = model

    @contextmanager
    def rollout(self, name: str, seed: Sequence[int]) -> Iterator[tuple[ChatModelBase, Trajectory]]:
        """The model for one rollout, and what is recorded of it (nothing, of a ready model).

        A model that is loaded here draws from `seed`.
        """
        if isinstance(self._model, ChatModelBase):
            yield self._model, Trajectory()
            return
        stream = int(np.random.SeedSequence(seed).generate_state(1)[0])
        session = self._model.open(name, seed=stream)
        try:
            yield session.model, session.trajectory
        finally:
            session.close()
        if session.fault is not None:
            raise session.fault


class Candidate:
    """A model that may not be loaded yet."""

    def __init__(self, given: ModelLike) -> None:
        """Look at what is given. Raises InputError if it is no model."""
        self.given = given
        self._settings: ChatModelSettings | None = None
        if isinstance(given, ChatModelBase):
            self.name = name_of(given)
        elif isinstance(given, str | Path | TunerModelConfig):
            self._settings = _settings(given)
            path = str(given.model_path if isinstance(given, TunerModelConfig) else given)
            self.name = short_name(path, self._settings.model_path)
        else:
            raise InputError(
                f"{given!r} is no model: give a chat model, a path or a TunerModelConfig."
            )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenModel]:
        """The model, loaded for as long as the block lasts."""
        if self._settings is None:
            assert isinstance(self.given, ChatModelBase)
            yield OpenModel(self.given)
            return
        async with AsyncExitStack() as opened:
            settings, device = {self.name: self._settings}, default_device()
            made = auxiliary_models(settings, device, False, opened)[self.name]
            if not isinstance(made, ServedModel):
                yield OpenModel(made.connect())
                return
            service = ChatService(made)
            opened.push_async_callback(service.close)
            yield OpenModel(service)


def candidates_of(models: Sequence[ModelLike]) -> list[Candidate]:
    """One a model; those of one name are told apart by a number. Raises InputError."""
    candidates = [Candidate(model) for model in models]
    many = Counter(candidate.name for candidate in candidates)
    met: Counter[str] = Counter()
    for candidate in candidates:
        name = candidate.name
        met[name] += 1
        if many[name] > 1:
            candidate.name = f"{name} ({met[name]})"
    return candidates


def _settings(given: str | Path | TunerModelConfig) -> ChatModelSettings:
    arguments: dict[str, Any] = {}
    if isinstance(given, TunerModelConfig):
        arguments = given.model_dump(exclude_unset=True)
        if given.base_url is not None:
            return auxiliary_settings({"model": given})["model"]
    path = arguments.pop("model_path", None) or str(given)
    return auxiliary_settings({"model": arguments | {"model_path": find_source(path)}})["model"]
