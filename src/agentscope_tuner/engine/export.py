"""`astuner export`: a model by itself, as a plain Hugging Face directory.

A checkpoint is such a directory already (with adapters, the merged model); what only resuming
needs is left behind here, and the weights get the precision that was asked for.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from agentscope_tuner.engine.source import TUNER_STATE, find_source
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.loading import load_model, quiet_transformers, resolve_model
from agentscope_tuner.training.learner import ADAPTER_DIRECTORY


def export_model(source: str, output: Path, dtype: str | None = None) -> Path:
    """Write the model that `source` means to the new directory `output` and return where it was.

    `dtype` (`bfloat16`, `float16`, `float32`) converts the weights; None keeps theirs. The
    directory is whole or not there. Raises InputError if `output` is not empty, or `source` is no
    model.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already and is not empty: choose another directory.")
    directory = resolve_model(find_source(source))
    output.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        _copy(directory, building, weights=dtype is None)
        if dtype is not None:
            with quiet_transformers():
                load_model(directory, getattr(torch, dtype)).save_pretrained(building)
        building.chmod(0o755)  # mkdtemp keeps others out
        building.replace(output)
    except BaseException:
        shutil.rmtree(building)
        raise
    return directory


def _copy(directory: Path, target: Path, *, weights: bool) -> None:
    left_out = [TUNER_STATE, ADAPTER_DIRECTORY]
    if not weights:
        left_out += ["*.safetensors", "*.safetensors.index.json"]
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)
