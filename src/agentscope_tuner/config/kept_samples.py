"""Samples that a program made, as a dataset with a path.

They are written once into the cache, under a digest of their content: so a run on them has a
`config.yaml` that repeats it, and goes on with the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pyarrow

from agentscope_tuner.cache import DATASETS
from agentscope_tuner.errors import InputError
from agentscope_tuner.progress_bars import without_progress_bars

Samples: TypeAlias = Sequence[Mapping[str, Any]] | datasets.Dataset


def keep(samples: Samples) -> Path:
    """The file of these samples, written if it is not there yet.

    Raises InputError: there are none, or they fit in no table (a field of two types, for one).
    """
    if not len(samples):
        raise InputError("There are no samples: the list is empty.")
    if not isinstance(samples, datasets.Dataset):
        try:
            samples = datasets.Dataset.from_list([dict(sample) for sample in samples])
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            problem = str(error).splitlines()[0]
            raise InputError(f"The samples fit in no table: {problem}.") from error
    with DATASETS.workshop() as workshop:
        file = workshop / "samples.parquet"
        with without_progress_bars():
            samples.to_parquet(file)
        return file.replace(DATASETS.place(hashlib.sha256(file.read_bytes()).hexdigest()))
