"""One rollout's conversations with its models: what they sample from, and what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.recorder import Recorder
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat_model import ChatModelBase, OpenAIChatModel
from agentscope_tuner.inference.base import Completion, RefusedSampling
from agentscope_tuner.inference.grammar import GrammarError
from agentscope_tuner.trajectory import AuxiliaryCall, Trajectory


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one rollout samples with instead of the policy's defaults; None keeps the default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None


class Session:
    """One rollout, from `ChatService.open` to `close`. Used on the service's event loop.

    Args:
        rollout_id: part of the rollout's URL.
        key: what its requests have to carry.
        policy: the model whose calls are recorded.
        auxiliary: the other served models by name.
        model: what is given to the workflow, connected to `policy`.
        auxiliary_models: models that are not trained by name, served here or not.
        overrides: of the policy's defaults.
        seed: every call without a seed of its own draws from this one and its number. None: from
            the sampler's stream.
        on_close: called once, when the session closes.
    """

    def __init__(
        self,
        rollout_id: str,
        key: str,
        *,
        policy: ServedModel,
        auxiliary: Mapping[str, ServedModel],
        model: OpenAIChatModel,
        auxiliary_models: Mapping[str, ChatModelBase],
        overrides: Overrides,
        seed: int | None,
        on_close: Callable[[], None],
    ) -> None:
        self.rollout_id = rollout_id
        self.key = key
        self.policy = policy
        self.served: Mapping[str, ServedModel] = {policy.name: policy, **auxiliary}
        """What requests may name as their model."""
        self.model = model
        self.auxiliary_models = auxiliary_models
        self.seed = seed
        self.trajectory = Trajectory()
        self.recorder = Recorder(self.trajectory)
        self.auxiliary_calls: list[AuxiliaryCall] = []
        """What was said to the auxiliary models, so far."""
        self.fault: Exception | None = None
        """What the sampler raised while it served this rollout, which the client saw as a status
        500: nothing can be sampled any more."""
        self.closed = False
        changed = {
            name: value
            for name in Overrides.__slots__
            if (value := getattr(overrides, name)) is not None
        }
        self._defaults = replace(policy, **changed)
        self._on_close = on_close
        self._running: set[asyncio.Task[Completion]] = set()
        self._calls = 0

    def model_named(self, name: str) -> ServedModel:
        """The served model that a request names; RequestError if there is none."""
        model = self.served.get(name)
        if model is None:
            raise RequestError(
                f"The model {name!r} does not exist: served are {', '.join(self.served)}.",
                param="model",
                code="model_not_found",
                status=404,
            )
        return model

    def defaults_of(self, model: ServedModel) -> ServedModel:
        """The model with the defaults that hold in this rollout."""
        return self._defaults if model is self.policy else model

    def count_call(self) -> int:
        """The number of the next call, from 0."""
        self._calls += 1
        return self._calls - 1

    def keep(self, call: AuxiliaryCall) -> None:
        """Keep what was said to an auxiliary model, unless the rollout has ended meanwhile."""
        if not self.closed:
            self.auxiliary_calls.append(call)

    async def while_open(self, tasks: Sequence[asyncio.Task[Completion]]) -> list[Completion]:
        """The tasks' results; RequestError if the session closes before they are there."""
        self._running.update(tasks)
        try:
            completions = [] if self.closed else await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            if not self.closed:
                raise
        except (GrammarError, RefusedSampling):
            raise  # the request's own
        except Exception as error:
            self.fault = error
            raise
        finally:
            self._running.difference_update(tasks)
            for task in tasks:
                task.cancel()
        # A result may have been there already when the session closed: it came too late as well.
        if self.closed:
            raise not_open(self.rollout_id)
        return completions

    def close(self) -> None:
        """End the rollout: pending calls are cancelled, later ones fail, nothing is recorded.

        May be called twice.
        """
        if self.closed:
            return
        self.closed = True
        self._on_close()
        for task in self._running:
            task.cancel()


def not_open(rollout_id: str) -> RequestError:
    """The answer to every call of a rollout that has ended, or never began."""
    return RequestError(
        f"The rollout {rollout_id!r} is not open: it has ended, or never began.",
        code="rollout_not_open",
        status=404,
    )
