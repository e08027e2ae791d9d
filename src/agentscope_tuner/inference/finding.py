"""From what a user calls a model to its files, without importing what could load them.

`model_path` may be a directory, a `.gguf` file, `pypi:<distribution>` (the model inside an
installed Python package, which is not imported) or a name on the hub, behind which `@` and a
revision may stand: a commit, a tag or a branch.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from agentscope_tuner.errors import InputError
from agentscope_tuner.hub import split_revision

PYPI = "pypi:"
GGUF = ".gguf"
HUB_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHTS = "*.safetensors"
AT_SERVICE = Path("tuner_state", "tinker.json")
"""In a checkpoint whose weights are at a Tinker service: where they are there."""
HUB_SECONDS = 10.0
"""How long the hub may take to answer before it counts as unreachable."""


def find_model(model_path: str, *, weights: bool = True) -> Path:
    """A model's Hugging Face directory, or its GGUF file; what is on the hub is fetched.

    Without `weights`, those are neither fetched nor asked for. Raises InputError, naming what was
    tried, if there is no model.
    """
    path = Path(model_path).expanduser()
    if model_path.startswith(PYPI):
        path = _inside_package(model_path.removeprefix(PYPI))
    elif not path.exists():
        if path.suffix == GGUF or path.is_absolute() or model_path.startswith((".", "~")):
            raise InputError(f"model_path {model_path!r} does not exist")
        path = _from_hub(model_path, weights)
    if path.suffix != GGUF:
        check_directory(path, model_path, weights)
    return path


def recorded_content(model_path: str, file: Path) -> str | None:
    """A digest of a package's file, as the package was installed; None: the model is in no package,
    or the file is not the one that was installed."""
    if not model_path.startswith(PYPI):
        return None
    files = importlib.metadata.files(model_path.removeprefix(PYPI)) or []
    places = {Path(str(f.locate())): f for f in files}
    recorded = places[file]
    record = next((place for place in places if place.name == "RECORD"), None)
    if recorded.hash is None or record is None:
        return None
    now = file.stat()
    if now.st_size != recorded.size or now.st_mtime_ns > record.stat().st_mtime_ns:
        return None
    return f"{recorded.hash.mode}={recorded.hash.value}"


def check_directory(directory: Path, model_path: str, weights: bool) -> None:
    """Raise InputError, which names what is missing, if it is no model's."""
    if not (directory / "config.json").is_file():
        raise InputError(f"model_path {model_path!r} is no model: it has no config.json")
    if weights and (directory / AT_SERVICE).is_file():
        raise InputError(
            f"model_path {model_path!r} has no weights: they are at a Tinker service "
            f"({directory / AT_SERVICE} says where)"
        )
    if weights and not any(directory.glob(WEIGHTS)):
        raise InputError(f"model_path {model_path!r} has no weights (*.safetensors)")
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise InputError(f"model_path {model_path!r} has no tokenizer (tokenizer.json)")


def _inside_package(distribution: str) -> Path:
    """The GGUF file or model directory that an installed distribution carries."""
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            f"model_path {PYPI + distribution!r} names a package that is not installed; "
            f"run: pip install --no-deps {distribution}"
        ) from None
    found = {Path(str(f.locate())) for f in files if f.suffix == ".gguf"}
    found |= {Path(str(f.locate())).parent for f in files if f.name == "config.json"}
    if len(found) != 1:
        what = ", ".join(path.name for path in sorted(found)) or "none"
        raise InputError(f"the package {distribution} must carry one model, but has {what}")
    return found.pop()


def _from_hub(name: str, weights: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, revision = split_revision(name)
    try:
        # A short question first: the download itself would retry for minutes without a network.
        HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS)
    except HFValidationError:
        raise InputError(
            f"model_path {name!r} is neither a path that exists nor a hub name"
        ) from None
    except HfHubHTTPError as error:
        return _from_hub_cache(
            name,
            f"the hub has no such model that you may read (status {error.response.status_code})",
        )
    except Exception as error:  # whatever keeps us from asking
        return _from_hub_cache(name, f"the hub cannot be asked ({error})")
    patterns = [*HUB_FILES, *([WEIGHTS] if weights else [])]
    return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))


def _from_hub_cache(name: str, why: str) -> Path:
    """What was fetched earlier, if it was."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision = split_revision(name)
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        raise InputError(
            f"model_path {name!r} is no local path, {why}, and the hub's local cache does not "
            "have it"
        ) from None
