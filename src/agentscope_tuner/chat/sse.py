"""Server-sent events."""

from __future__ import annotations

import json
from typing import Any


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    """One event, with its name where the API names them."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
