"""What evaluations take of memory: the keys and values of all their tokens."""

from __future__ import annotations

import torch

from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.models import ModelFiles, sampling_dtype
from agentscope_tuner.inference.architecture import Architecture
from agentscope_tuner.inference.model_runner import CACHE_SHARE


def evaluation_bytes(
    config: Config,
    files: ModelFiles,
    device: torch.device,
    *,
    free: float,
    step_tokens: float,
    evaluation_tokens: float,
) -> float:
    """Bytes that an evaluation's tokens take beside those of a step.

    Keys and values are kept, as a cache, until the sampler gets new weights, and the evaluation and
    the rollouts of the next step come between two such moments. `free` bytes were there before the
    cache was made. A GPU's is there as a whole from the beginning; on a processor only what is
    written to takes memory.
    """
    settings = config.trained_model()
    if device.type != "cpu" or config.model.tinker.enable:
        return 0.0
    architecture = Architecture.from_config(files.config)
    token = architecture.cache_bytes_per_token(sampling_dtype(settings, device))
    whole = settings.kv_cache_memory_bytes or CACHE_SHARE * free
    return max(0.0, min(evaluation_tokens * token, whole - step_tokens * token))
