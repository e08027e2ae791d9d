"""The metric keys that `docs/metrics.md` documents, read from its tables."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
_KEY = re.compile(r"`([a-z_]+(?:/[\w<>@]+)*)`")


def documented_keys() -> list[str]:
    """The keys in the first columns of the page's tables; `<name>` stands for any name."""
    rows = [line.split("|")[1] for line in _PAGE.read_text().splitlines() if line.startswith("|")]
    return [key for cell in rows for key in _KEY.findall(cell)]


def is_documented(key: str) -> bool:
    """Whether the page has `key`, or a pattern such as `workflow/<name>` that it fits."""
    return any(pattern(documented).fullmatch(key) for documented in documented_keys())


def pattern(documented: str) -> re.Pattern[str]:
    parts = re.split(r"<\w+>", documented)
    return re.compile(".+".join(map(re.escape, parts)))
