"""Model directories as Hugging Face has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from huggingface_hub import split_torch_state_dict_into_shards
from huggingface_hub.constants import SAFETENSORS_INDEX_FILE
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_OF_A_FILE = 10**9
"""Bytes of weights in one file, and so of adapters that are merged at the same time."""


def save_model_directory(
    directory: Path,
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Write `weights` with the configuration of `model`, so that `from_pretrained` loads them.

    The directory may exist; files of the same names are replaced. Weights are asked for once more
    when their file is written, and only those of one file are held at once.
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
    _save(weights, directory)
    for path in directory.glob("*.safetensors"):  # which safetensors keeps from everybody else
        path.chmod((directory / "config.json").stat().st_mode)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)


def _save(weights: Mapping[str, Tensor], directory: Path) -> None:
    shapes = {name: weight.to("meta") for name, weight in weights.items()}
    files = split_torch_state_dict_into_shards(shapes, max_shard_size=MOST_OF_A_FILE)
    for path in directory.glob("model*.safetensors*"):  # of other weights, in more files
        path.unlink()
    for file, names in files.filename_to_tensors.items():
        # Without a name: the next file's would be made while this one's were held by it.
        save_file(
            {name: weights[name].contiguous() for name in names},
            directory / file,
            metadata={"format": "pt"},
        )
    if files.is_sharded:
        index = {"metadata": files.metadata, "weight_map": files.tensor_to_filename}
        (directory / SAFETENSORS_INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
