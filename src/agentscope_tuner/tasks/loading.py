"""Loading samples: a hub name, a directory or one file, by Hugging Face `datasets`.

A directory is laid out as `datasets.load_dataset` wants it (`train.jsonl`, `test.jsonl`, ...). A
single file has one split, `train`. Whatever is wrong comes back as one sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from agentscope_tuner.config.preview import source_of
from agentscope_tuner.errors import InputError
from agentscope_tuner.hub import split_revision
from agentscope_tuner.progress_bars import without_progress_bars

_HUB_TIMEOUT_S = 10.0


def load_samples(
    path: str, *, name: str | None = None, split: str | None = "train"
) -> datasets.Dataset:
    """Load one split; an item of the result is a plain dictionary.

    `name` is the configuration's name on the hub. `split` may be a slice (`train[:100]`); None
    takes the only split there is.

    Raises InputError: nothing at `path`, no such split (the message lists those there are), an
    empty one, or a file that cannot be read.
    """
    source: Any = source_of(path, name)
    if not Path(path).expanduser().exists():
        _check_on_hub(path)

    split = split or _only_split(path, source)
    try:
        with without_progress_bars():
            samples = datasets.load_dataset(**source, split=split)
    # `datasets` raises nearly every type there is for input it cannot read.
    except Exception as error:
        if str(error).startswith("Unknown split"):
            found = ", ".join(_splits(source))
            message = f"The dataset {path!r} has no split {split!r}; it has {found}."
            raise InputError(message) from error
        if not _says_empty(error):
            raise _unreadable(path, error) from error
        samples = []
    if len(samples) == 0:
        raise InputError(f"The dataset {path!r} is empty in its split {split!r}.")
    return samples


def _check_on_hub(path: str) -> None:
    """Fail at once where `datasets` would retry for half a minute before it says so."""
    missing = f"The dataset {path!r} is neither a file or directory here nor a dataset on the hub"
    repository, revision = split_revision(path)
    if (Path(datasets.config.HF_DATASETS_CACHE) / repository.replace("/", "___")).is_dir():
        return
    try:
        HfApi().dataset_info(repository, revision=revision, timeout=_HUB_TIMEOUT_S)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise InputError(f"{missing}.") from error
    except Exception as error:  # offline mode, or whatever the HTTP client calls no connection
        raise InputError(f"{missing} that can be reached ({_first_line(error)}).") from error


def _only_split(path: str, source: dict[str, str | None]) -> str:
    try:
        splits = _splits(source)
    except Exception as error:
        raise _unreadable(path, error) from error
    if len(splits) != 1:
        raise InputError(f"Name one split of the dataset {path!r}: it has {', '.join(splits)}.")
    return splits[0]


def _splits(source: dict[str, str | None]) -> list[str]:
    config = {"config_name" if key == "name" else key: value for key, value in source.items()}
    return datasets.get_dataset_split_names(**config)


def _says_empty(error: Exception) -> bool:
    """JSON files without a line, and tables without a row, are errors to `datasets`."""
    return isinstance(error, StopIteration) or "corresponds to no data" in str(error)


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(f"The dataset {path!r} cannot be loaded: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    """The most telling line of an error: its own, or that of what caused it."""
    cause = error.__cause__ or error
    text = str(cause) or str(error) or type(error).__name__
    return text.strip().splitlines()[0].rstrip(".")
