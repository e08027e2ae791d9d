"""What several rooms ask of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many first items two sequences of one type share."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # comparing slices is fast, walking items in Python is not
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
