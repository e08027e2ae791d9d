"""The table of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agentscope_tuner.monitor.summary import training_key
from agentscope_tuner.runs.comparison import differences
from agentscope_tuner.viewer.library import Library

SPARKS = 60
"""Points of a run's small curve."""


def runs_page(library: Library, query: Mapping[str, str]) -> dict[str, Any]:
    """Each run with its state, its curve, its best evaluations and what is its own in the
    configuration."""
    rows = library.rows()
    configurations = {name: library.run(name).configuration() for name in rows}
    differing = differences(configurations)
    return {
        "runs": [
            {
                "id": name,
                "status": row.status,
                "step": row.step,
                "total_steps": row.total_steps,
                "changed": row.changed.timestamp(),
                "best": [[set_, *best] for set_, best in row.best.items()],
                "curve": _curve(library, name),
                "differs": {key: values.get(name) for key, values in differing.items()},
            }
            for name, row in rows.items()
        ]
    }


def _curve(library: Library, name: str) -> list[float | None]:
    records = library.run(name).records()
    key = training_key(records)
    return thin([number(record[key]) for record in records if key in record], SPARKS)


def thin(values: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the values, evenly chosen, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(at * (len(values) - 1) / (count - 1))] for at in range(count)]


def number(value: float) -> float | None:
    """A number as JSON knows it: None for NaN and infinities."""
    return value if math.isfinite(value) else None
