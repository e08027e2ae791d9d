"""The first samples of a dataset, without loading the rest."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from datasets import IterableDatasetDict, load_dataset
from datasets.exceptions import DatasetsError

from agentscope_tuner.errors import InputError

FILE_LOADERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
"""How `datasets` calls the reader of a single file."""


class DatasetNotFoundError(InputError, FileNotFoundError):
    """There is no such dataset; AgentScope's own preview raises an OSError here."""


def first_samples(path: str, name: str | None, split: str | None, n: int) -> list[dict[str, Any]]:
    """The first `n` samples, or all there are. Raises InputError if they cannot be read."""
    file = Path(path).expanduser()
    source: dict[str, Any] = {"path": path}
    if file.is_file() and file.suffix in FILE_LOADERS:
        source = {"path": FILE_LOADERS[file.suffix], "data_files": str(file)}
    try:
        dataset = load_dataset(**source, name=name, split=split, streaming=True)
        if isinstance(dataset, IterableDatasetDict):
            (dataset,) = dataset.values()
        return list(islice(dataset, n))
    except (OSError, DatasetsError, ValueError) as error:
        kind = DatasetNotFoundError if isinstance(error, OSError) else InputError
        problem = str(error).splitlines()[0]
        raise kind(f"the dataset {path!r} (split {split}) cannot be read: {problem}") from None
