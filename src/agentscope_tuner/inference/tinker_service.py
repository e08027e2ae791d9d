"""A Tinker service: a model that is trained and sampled elsewhere, through the official SDK."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tinker
from torch import Tensor

from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.inference.finding import AT_SERVICE

SECONDS = 10.0
"""How long the service may take to be found, and to be taken leave of."""


class TinkerService:
    """One session at a service."""

    def __init__(self, base_url: str | None, model: str) -> None:
        """Find the service, and `model` there. None: TINKER_BASE_URL, or the SDK's own address.

        Raises InputError: it is not there, refuses the key, or does not train such a model.
        """
        self.model = model
        # The SDK would also report what fails here, with its stack; the user is not asked by it.
        os.environ.setdefault("TINKER_TELEMETRY", "0")
        url = base_url or os.environ.get("TINKER_BASE_URL")
        if url is not None:
            _refuse_unreachable(url)
        self.name = f"the Tinker service at {url}" if url else "Tinker's own service"
        with self._told():
            # None: the SDK has other places to look. Given, no older key of this process is used.
            key = os.environ.get("TINKER_API_KEY")
            self._client = tinker.ServiceClient(base_url=url, api_key=key)
            rest = tinker.RestClient(base_url=url, api_key=key)
            models = _wait(rest.get_server_capabilities()).supported_models
            known = {one.model_name: one for one in models}
        if model not in known or known[model].trainable is False:
            names = ", ".join(sorted(name for name in known if name)) or "none"
            raise InputError(f"{self.name} does not train {model}; its models are: {names}.")
        self.max_model_len: int | None = known[model].max_context_length

    def begin(
        self, *, rank: int, seed: int, mlp: bool, attention: bool, unembed: bool
    ) -> tinker.TrainingClient:
        """New adapters. Raises InputError if the service refuses."""
        with self._told():
            future = self._client.create_lora_training_client(
                self.model,
                rank=rank,
                seed=seed,
                train_mlp=mlp,
                train_attn=attention,
                train_unembed=unembed,
            )
            return _wait(future)

    def resume(self, state: str) -> tinker.TrainingClient:
        """Adapters and their optimizer, as they were saved. Raises InputError if they are gone."""
        with self._told():
            return _wait(self._client.create_training_client_from_state_with_optimizer(state))

    def untuned(self) -> tinker.SamplingClient:
        """The model without adapters. Raises InputError if the service refuses."""
        with self._told():
            return _wait(self._client.create_sampling_client(base_model=self.model))

    def tuned(self, sampler: str) -> tinker.SamplingClient:
        """The model as it was saved for samplers. Raises InputError if that is gone."""
        with self._told():
            return _wait(self._client.create_sampling_client(model_path=sampler))

    def close(self) -> None:
        """Take leave. A service that does not answer finds out by itself."""
        with contextlib.suppress(FutureTimeout, tinker.TinkerError):
            self._client.close("success").future().result(SECONDS)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (tinker.TinkerError, ValueError) as error:
            raise InputError(f"{self.name} cannot be used: {error}.") from error


@dataclass(frozen=True, slots=True)
class SavedAtService:
    """What a checkpoint has in place of weights."""

    model: str
    """The service's name of the model that the adapters belong to."""
    state: str
    """Address of the adapters with their optimizer, to learn on from."""
    sampler: str
    """Address of the adapters, to sample from."""
    updates: int
    """That they have had."""

    @classmethod
    def read(cls, checkpoint: Path) -> SavedAtService | None:
        """What a model's directory says; None: its weights are at no service."""
        path = checkpoint / AT_SERVICE
        return cls(**json.loads(path.read_bytes())) if path.is_file() else None

    def write(self, checkpoint: Path) -> None:
        """Write it where `read` finds it."""
        path = checkpoint / AT_SERVICE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


class TunedAtService(Mapping[str, Tensor]):
    """The weights of a learner, which stay at the service: there are none on this machine."""

    def __init__(self, training: tinker.TrainingClient) -> None:
        self._training = training

    async def sampler(self) -> tinker.SamplingClient:
        """What samples from the weights as they are now, for as long as the session lasts."""
        return await answer(
            self._training.save_weights_and_get_sampling_client(), "hand its weights to the sampler"
        )

    def __getitem__(self, name: str) -> Tensor:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def wait(future: Any, what: str) -> Any:
    """The result of what the service was asked. Raises RunError, which says what, if it failed."""
    with _failing(what):
        return _wait(future)


async def answer(future: Any, what: str) -> Any:
    """The same, while the event loop goes on."""
    with _failing(what):
        return await future


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (tinker.TinkerError, ValueError) as error:
        raise RunError(f"The Tinker service failed to {what}: {error}.") from error


def _wait(future: Any) -> Any:
    # The SDK's own `result` warns where an event loop runs; here it is kept waiting on purpose,
    # as it is while a model is loaded.
    return future.future().result()


def _refuse_unreachable(url: str) -> None:
    """The SDK itself would go on trying for five minutes."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"model.tinker.base_url is {url!r}; it must begin with http(s)://.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), SECONDS).close()
    except OSError as error:
        raise InputError(
            f"There is no Tinker service at {url} ({error}): start it, or set "
            "model.tinker.base_url, or TINKER_BASE_URL."
        ) from error
