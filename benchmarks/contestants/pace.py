"""TRL's trainer, one step a request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from channel import Channel, Message
from transformers import TrainerCallback
from trl import GRPOConfig


class Pace(TrainerCallback):
    """Waits before every step for a request, and answers after it.

    Args:
        channel: To the benchmark.
        ready: Called with 0 when everything is loaded; what it returns is said with that.
        before: Called with each request before the clock starts.
        after: Called with the number of steps done after the clock has stopped; adds to the answer.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        ready: Callable[[int], Message] = lambda step: {},
        before: Callable[[Message], None] = lambda request: None,
        after: Callable[[int], Message] = lambda step: {},
    ) -> None:
        self._channel = channel
        self._ready = ready
        self._before = before
        self._after = after

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Everything is loaded."""
        self._channel.answer(self._ready(0))

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait."""
        self._before(self._channel.receive())
        self._began = time.perf_counter()

    def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Answer."""
        seconds = time.perf_counter() - self._began
        self._channel.answer({"seconds": seconds, **self._after(state.global_step)})


def grpo_settings(output_dir: str, **settings: Any) -> GRPOConfig:
    """What all runs share, if `settings` do not say otherwise: plain AdamW, bf16 autocast."""
    shared = {
        "use_cpu": True,
        "bf16": True,
        "model_init_kwargs": {"dtype": "float32"},
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "beta": 0.0,
        "num_generations": 8,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }
    return GRPOConfig(output_dir=output_dir, **(shared | settings))
