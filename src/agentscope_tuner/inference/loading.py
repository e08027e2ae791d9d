"""From what a user calls a model to a Hugging Face directory, and from that to memory.

A GGUF file is converted once, to fp32 safetensors in a cache outside the repository
(`cache.MODELS`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from agentscope_tuner.cache import MODELS
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.architecture import check_architecture
from agentscope_tuner.inference.finding import (
    GGUF,
    WEIGHTS,
    check_directory,
    find_model,
    recorded_content,
)

__all__ = [
    "check_architecture",
    "load_config",
    "load_gguf",
    "load_model",
    "load_tokenizer",
    "resolve_model",
]


def resolve_model(model_path: str, *, weights: bool = True) -> Path:
    """Find a model's files and return them as a local Hugging Face directory.

    Its weights may be missing where they are not wanted. Raises InputError, naming what was tried,
    if there is no model.
    """
    path = find_model(model_path, weights=weights)
    return _converted(path, recorded_content(model_path, path)) if path.suffix == GGUF else path


def load_config(directory: Path) -> PreTrainedConfig:
    """The model's configuration. Raises InputError if it is not one that transformers knows."""
    try:
        return AutoConfig.from_pretrained(directory)
    except (ValueError, OSError) as error:
        raise InputError(f"{directory}/config.json is no model configuration: {error}") from error


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises InputError if there is none or it cannot be read."""
    try:
        return AutoTokenizer.from_pretrained(directory)
    except (ValueError, OSError) as error:
        raise InputError(f"the tokenizer in {directory} cannot be loaded: {error}") from error


def load_model(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model itself, on the CPU, in evaluation mode, with torch's own attention."""
    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, attn_implementation="sdpa"
        ).eval()


def _converted(gguf: Path, content: str | None) -> Path:
    """The Hugging Face directory made from a GGUF file, now or earlier, by transformers of this
    version, which may write what others do not read.

    It is every environment's whose package has brought a file of this `content`; None: this file's
    alone, as it is now. Processes that convert at once do not disturb each other.
    """
    stat = gguf.stat()
    source = content or f"{gguf.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    fingerprint = f"{source}:{transformers.__version__}"
    target = MODELS.place(hashlib.sha256(fingerprint.encode()).hexdigest(), gguf.stem)
    if _is_whole(target):
        return target
    with MODELS.workshop() as workshop:
        model = workshop / "model"
        _convert(gguf, model)
        with contextlib.suppress(OSError):  # another process was first
            if not _is_whole(target):
                target.rename(workshop / "half")
        with contextlib.suppress(OSError):
            model.rename(target)
    return target


def _is_whole(model: Path) -> bool:
    """Whether a converted model is there, and none of its weights ends before its end."""
    try:
        check_directory(model, str(model), weights=True)
        for file in model.glob(WEIGHTS):
            with safe_open(file, "pt"):
                pass
    except (InputError, OSError, SafetensorError):
        return False
    return True


def load_gguf(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a GGUF file in 32 bits, and its tokenizer. Raises InputError."""
    # The progress bar of the conversion has no switch of its own.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32
            )
            return model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except (ValueError, OSError, RuntimeError) as error:
            raise InputError(f"{gguf} cannot be read as a GGUF model: {error}") from error


def _convert(gguf: Path, target: Path) -> None:
    model, tokenizer = load_gguf(gguf)
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        # The weights are plain fp32 now; what describes their old packing would stop the saving.
        del model.config.quantization_config
        del model.hf_quantizer
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and remarks out of our output."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()
