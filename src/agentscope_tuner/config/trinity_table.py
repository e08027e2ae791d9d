"""What becomes of the keys of Trinity-RFT's YAML that have no use of their own here: data.

`trinity/*.yaml` lists them by section, in rows of an outcome and the keys that share it:

    explorer.rollout_model:
      - no meaning here: vLLM only
        keys:
          use_v1: [true, vLLM's newer engine.]       # key: [default, meaning]

* `no meaning here: why` and `not served: why` make them keys of that section, as `not_here` and
  `not_served` of `agentscope_tuner.config.keys` would. Sections that only Trinity has come to be in
  this way too; `.0` in a path makes a list of sections.
* `takes effect as: key` is another name of that key. `where` translates values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

OTHER_NAME = "takes effect as"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Row:
    """One key of the table."""

    section: str
    """Dotted path of the section; empty: the top."""
    key: str
    default: Any
    meaning: str
    outcome: str
    """`no meaning here`, `not served` or `takes effect as`."""
    why: str
    """The reason, or the key that it takes effect as."""
    where: dict[Any, Any] = field(default_factory=dict)
    """For `takes effect as`: the values that are written otherwise there."""

    @property
    def name(self) -> str:
        """Dotted path of the key."""
        return f"{self.section}.{self.key}".lstrip(".")


def keys_of(section: str) -> list[Row]:
    """The keys that the table adds to a section."""
    return [row for row in _table() if row.section == section and row.outcome != OTHER_NAME]


def sections_of(section: str) -> dict[str, str]:
    """Names and paths of the sections right below one, as far as they have rows."""
    above = f"{section}.".lstrip(".")
    paths = (row.section for row in _table() if row.section.startswith(above))
    below = {path: path.removeprefix(above).split(".") for path in paths if path != section}
    return {
        parts[0]: above + ".".join(parts[: 2 if parts[1:2] == ["0"] else 1])
        for parts in below.values()
    }


def other_names() -> list[Row]:
    """The keys that are other names of keys."""
    return [row for row in _table() if row.outcome == OTHER_NAME]


@cache
def _table() -> tuple[Row, ...]:
    return tuple(_rows())


def _rows() -> Iterator[Row]:
    for file in files("agentscope_tuner.config").joinpath("trinity").iterdir():
        sections = yaml.load(file.read_text(encoding="utf-8"), _LOADER)
        for section, groups in sections.items():
            for group in groups:
                keys, where = group["keys"], group.get("where", {})
                ((outcome, why),) = (
                    item for item in group.items() if item[0] not in ("keys", "where")
                )
                for key, (default, meaning) in keys.items():
                    yield Row(section, key, default, meaning, outcome, why, where)
