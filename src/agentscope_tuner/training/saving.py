"""Model directories as Hugging Face has them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_model_directory(
    directory: Path,
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Write `weights` with the configuration of `model`, so that `from_pretrained` loads them.

    The directory may exist; files of the same names are replaced.
    """
    config = deepcopy(model.config)
    # A model in shards is of a class made for it, which nobody else knows.
    (*_, kind) = (
        c for c in reversed(type(model).__mro__) if c.__module__.startswith("transformers.")
    )
    config.architectures = [kind.__name__]
    config.dtype = next(iter(weights.values())).dtype
    directory.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(directory)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(directory)
    save_torch_state_dict(dict(weights), directory)
    for path in directory.glob("*.safetensors"):  # which safetensors keeps from everybody else
        path.chmod((directory / "config.json").stat().st_mode)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
