"""What commands print for programs."""

from __future__ import annotations

import json
import math
from typing import Any


def print_json(data: Any) -> None:
    """One JSON document. Numbers that JSON does not know become null, and all that is not ASCII is
    escaped: nothing in it moves a terminal."""
    print(json.dumps(_known(data), indent=1, allow_nan=False, default=str))


def _known(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _known(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_known(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
