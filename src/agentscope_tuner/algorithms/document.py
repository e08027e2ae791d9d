"""The tables of `docs/algorithms.md`, from what is known by name: `python -m` this module."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from textwrap import dedent

from agentscope_tuner.algorithms.advantage import Advantage
from agentscope_tuner.algorithms.catalogue import catalogue
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.algorithms.types import AlgorithmType

Part = type[Advantage] | type[PolicyLoss]


def types_table() -> str:
    """Every `algorithm_type`."""
    rows = [
        "| `algorithm_type` | when | learns from | advantage | loss | aggregation |",
        "| --- " * 6 + "|",
    ]
    for name, kind in sorted(catalogue().types.items()):
        if isinstance(kind, AlgorithmType):
            args = {**kind.advantage_fn_args, **kind.policy_loss_fn_args}
            own = "".join(f", `{key}: {value}`" for key, value in args.items())
            cells = [kind.summary, kind.data, f"`{kind.advantage_fn}`"]
            cells += [f"`{kind.policy_loss_fn}`{own}", f"`{kind.loss_agg_mode}`"]
            rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def arguments_table(parts: Mapping[str, Part]) -> str:
    """The arguments of every part that has any."""
    rows = ["| name | argument | default | effect |", "| --- " * 4 + "|"]
    for part in sorted(set(parts.values()), key=lambda part: part.name):
        names = " ".join(f"`{name}`" for name in sorted(n for n in parts if parts[n] is part))
        known = _described(part)
        for field in fields(part):  # type: ignore[arg-type]
            default = "" if field.default is MISSING or field.default is None else field.default
            cells = f"`{field.name}` | {default} | {known.get(field.name, '')}"
            rows.append(f"| {names} | {cells} |")
    return "\n".join(rows)


def written(text: str) -> str:
    """The page with its tables as they should be."""
    found = catalogue()
    tables = {
        "types": types_table(),
        "advantages": arguments_table(found.advantages),
        "losses": arguments_table(found.losses),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{begin}.*?{end}", re.DOTALL)
        text = pattern.sub(lambda _, t=f"{begin}\n{table}\n{end}": t, text)  # type: ignore[misc]
    return text


def _described(part: Part) -> dict[str, str]:
    """What stands below each field, in the part's class and its bases."""
    known: dict[str, str] = {}
    for base in reversed(part.__mro__):
        if base.__module__.startswith("agentscope_tuner") or base is part:
            [body] = ast.parse(dedent(inspect.getsource(base))).body
            assert isinstance(body, ast.ClassDef)
            for field, below in zip(body.body, body.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    assert isinstance(below.value, ast.Constant)
                    text = " ".join(str(below.value.value).split())
                    known[ast.unparse(field.target)] = text
    return known


def main(page: Path = Path("docs/algorithms.md")) -> None:
    """Write the tables into the page."""
    page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
