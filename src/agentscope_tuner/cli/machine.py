"""What commands print for programs."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def print_json(data: Any, file: TextIO | None = None) -> None:
    """One JSON document, on the standard output unless `file` is given. Numbers that JSON does not
    know become null, and all that is not ASCII is escaped: nothing in it moves a terminal."""
    print(json.dumps(_known(data), indent=1, allow_nan=False, default=str), file=file)


@contextlib.contextmanager
def machine_output(wanted: bool) -> Iterator[TextIO]:
    """The standard output; while `wanted`, whatever else the block prints goes to the standard
    error, a script's own words among it."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if wanted else out):
        yield out


def _known(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _known(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_known(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
