"""The first samples of a dataset, without loading the rest."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import IterableDatasetDict, get_dataset_config_names, load_dataset
from datasets.exceptions import DatasetsError

from agentscope_tuner.errors import InputError
from agentscope_tuner.hub import split_revision

_log = logging.getLogger(__name__)
_FILE_LOADERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
"""How `datasets` calls the reader of a single file."""


def source_of(path: str, name: str | None) -> dict[str, str | None]:
    """What `datasets.load_dataset` takes for a directory, one file or a name on the hub.

    A configuration's name has no meaning for a plain directory, and is said to have none.

    Raises InputError for a file that is of no known kind.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        if name is not None and get_dataset_config_names(str(local)) == ["default"]:
            _log.warning("The directory %s has no configurations: %r names none.", path, name)
            name = None
        return {"path": str(local), "name": name}
    if not local.is_file():
        repository, revision = split_revision(path)
        return {"path": repository, "name": name, "revision": revision}
    loader = _FILE_LOADERS.get(local.suffix)
    if loader is None:
        known = ", ".join(_FILE_LOADERS)
        raise InputError(f"The dataset file {path!r} must end in one of {known}.")
    return {"path": loader, "name": name, "data_files": str(local)}


class DatasetNotFoundError(InputError, FileNotFoundError):
    """There is no such dataset; AgentScope's own preview raises an OSError here."""


def first_samples(path: str, name: str | None, split: str | None, n: int) -> list[dict[str, Any]]:
    """The first `n` samples, or all there are. Raises InputError if they cannot be read."""
    source: Any = source_of(path, name)
    try:
        dataset = load_dataset(**source, split=split, streaming=True)
        if isinstance(dataset, IterableDatasetDict):
            (dataset,) = dataset.values()
        return list(islice(dataset, n))
    except (OSError, DatasetsError, ValueError) as error:
        kind = DatasetNotFoundError if isinstance(error, OSError) else InputError
        problem = str(error).splitlines()[0]
        raise kind(f"the dataset {path!r} (split {split}) cannot be read: {problem}") from None
