"""`astuner export`: a model by itself: a Hugging Face directory, its adapter, or a GGUF file.

A checkpoint is a Hugging Face a directory already (with adapters, the merged model); what only
resuming needs is left behind here, and the weights get the precision that was asked for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.checkpoint.disk_full import is_disk_full
from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.engine.source import TUNER_STATE, find_source
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.inference.loading import (
    load_config,
    load_model,
    load_tokenizer,
    quiet_transformers,
    resolve_model,
)
from agentscope_tuner.runs.card import Form, write_card
from agentscope_tuner.runs.files import RunFiles
from agentscope_tuner.training.learner import ADAPTER_DIRECTORY


def export_model(source: str, output: Path, dtype: str | None = None) -> Path:
    """Write the model that `source` means to the new directory `output` and return where it was.

    `dtype` (`bfloat16`, `float16`, `float32`) converts the weights; None keeps theirs. The
    directory is whole or not there. Raises InputError if `output` is not empty, or `source` is no
    model.
    """
    with _whole_or_not_there(output) as building:
        directory = resolve_model(find_source(source))
        _copy(directory, building, weights=dtype is None)
        if dtype is not None:
            with quiet_transformers():
                load_model(directory, getattr(torch, dtype)).save_pretrained(building)
        _write_card(directory, building, "hf")
    return directory


def export_adapter(source: str, output: Path) -> Path:
    """Write the adapter of a checkpoint, as peft loads it; else as `export_model`.

    Raises InputError if the checkpoint has none.
    """
    with _whole_or_not_there(output) as building:
        directory = resolve_model(find_source(source))
        adapter = directory / ADAPTER_DIRECTORY
        if not adapter.is_dir():
            raise InputError(
                f"{directory} has no adapter: it was tuned in full. Export it with --format hf."
            )
        shutil.copytree(adapter, building, dirs_exist_ok=True)
        _write_card(directory, building, "adapter")
    return directory


def export_gguf(source: str, output: Path, weights: str | None, *, ollama: bool) -> Exported:
    """Write a GGUF file, and a Modelfile for Ollama if `ollama`; else as `export_model`.

    `weights` is one of `gguf_file.FORMATS`; None: as they are. Raises RunError if what is loaded
    from the file does not answer as the model does.
    """
    # `gguf` and what it brings are wanted by nothing else.
    from agentscope_tuner.engine.gguf_check import compare
    from agentscope_tuner.engine.gguf_file import write_gguf

    with _whole_or_not_there(output) as building:
        directory = resolve_model(find_source(source))
        tokenizer = load_tokenizer(directory)
        own = _GGUF_NAMES[str(load_config(directory).dtype or torch.float32)]
        model = load_model(directory, torch.float32)
        path = building / f"{output.name}.gguf"
        write_gguf(path, model, tokenizer, weights or own, output.name)
        lossless = (weights or own) in ("f32", own)
        agreement = compare(path, model, tokenizer, lossless=lossless)
        if ollama:
            (building / "Modelfile").write_text(_modelfile(path.name, tokenizer), encoding="utf-8")
        _write_card(directory, building, "gguf")
    return Exported(directory, output / path.name, agreement)


@dataclass(frozen=True, slots=True)
class Exported:
    """A GGUF file that was written, loaded and compared."""

    origin: Path
    path: Path
    agreement: float
    """Share of greedy tokens that it has in common with the original."""


_GGUF_NAMES = {"torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16"}


def _modelfile(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """What `ollama create` reads; the chat template is in the file itself."""
    stop = json.dumps(tokenizer.eos_token, ensure_ascii=False)
    return f"FROM ./{name}\nPARAMETER stop {stop}\n"


@contextmanager
def _whole_or_not_there(output: Path) -> Iterator[Path]:
    """A directory that becomes `output` if all goes well."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already and is not empty: choose another directory.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}.") from error
    try:
        yield building
        building.chmod(0o755)  # mkdtemp keeps others out
        building.replace(output)
    except BaseException as error:
        shutil.rmtree(building)
        if is_disk_full(error):
            raise RunError(
                f"The disk is full: {output} was not written; free some space, or choose another "
                "place."
            ) from error
        raise


def _write_card(checkpoint: Path, building: Path, form: Form) -> None:
    """The card of a run's model. A model that is not in its run keeps what it has."""
    run, (_, _, step) = checkpoint.parent, checkpoint.name.partition("global_step_")
    if (run / STATE_FILE).is_file() and step.isdecimal():
        write_card(building, RunFiles(run), int(step), form)


def _copy(directory: Path, target: Path, *, weights: bool) -> None:
    left_out = [TUNER_STATE, ADAPTER_DIRECTORY]
    if not weights:
        left_out += ["*.safetensors", "*.safetensors.index.json"]
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)
