"""`astuner view RUN --export report.html`: a run as one file that opens from disk.

The front end's modules become one script, the pages lie gzipped beside it. As many rollouts as fit
are in it, those of the last step and the last evaluations first.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.pages import PAGES
from agentscope_tuner.viewer.server import STATIC, to_json

BUDGET = 40 << 20
"""Bytes of JSON that a report carries; compressed it is about a fifth."""
MODULES = (
    "dom.js",
    "data.js",
    "charts.js",
    "strip.js",
    "conversation.js",
    "parts.js",
    "overview.js",
    "rollouts.js",
    "main.js",
)
"""In the order of their imports. Their top-level names are all different."""


def write_report(library: Library, path: Path) -> str:
    """Write the report; returns a sentence about what is in it.

    Raises InputError: there are several runs, or the file cannot be written (then nothing is left).
    """
    names = list(library.rows())
    if len(names) != 1:
        raise InputError(
            f"A report is about one run; {library.directory} has {len(names)}: name one of them."
        )
    pages: dict[str, Any] = {}
    size, steps, whole = 0, 0, 0
    for asked in _wanted(library, names[0]):
        found: dict[str, Any] = {}
        for page, query in asked:
            found[_key(page, query)] = PAGES[page](library, query)
        size += sum(len(to_json(content)) for content in found.values())
        if size > BUDGET and pages:
            break
        pages |= found
        steps += any(page == "step" for page, _ in asked)
        whole += sum(page == "rollout" for page, _ in asked)
    total = len(library.run(names[0]).table)
    html = page_of({"run": names[0], "pages": pages})
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(html, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    return f"{path}: {len(html) / 1e6:.1f} MB, {whole:,} of {total:,} rollouts"


def page_of(report: Mapping[str, Any]) -> str:
    """The report as HTML: it asks for nothing, and its policy allows nothing else."""
    scripts = [STATIC["uplot.js"].decode(), f"(async () => {{\n{_one_script()}\n}})();"]
    styles = [STATIC["uplot.css"].decode(), STATIC["app.css"].decode()]
    policy = (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    data = base64.b64encode(gzip.compress(to_json(report), mtime=0)).decode()
    html = STATIC["index.html"].decode()
    html = re.sub(r'<(link rel="stylesheet"|script src)[^>]*>(</script>)?\n', "", html)
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    head += "".join(f"<style>{style}</style>\n" for style in styles)
    tail = f'<script type="application/octet-stream" id="report">{data}</script>\n'
    tail += "".join(f"<script>{script}</script>\n" for script in scripts)
    html = html.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{head}')
    return html.replace("</body>", f"{tail}</body>")


def _wanted(library: Library, name: str) -> Iterator[list[tuple[str, dict[str, str]]]]:
    """What a report has, in pieces, the most wanted first."""
    run = {"run": name}
    yield [("run", run), ("findings", run), ("files", run)]
    overview = PAGES["run"](library, run)
    places = [{**run, "step": str(s["step"]), "set": s["set"] or ""} for s in overview["steps"]]
    table = library.run(name).table
    for place in reversed(places):
        groups = PAGES["step"](library, place)["groups"]
        pieces: list[tuple[str, dict[str, str]]] = [("step", place)]
        for group in groups:
            pieces.append(("group", {**place, "group": group["group"]}))
            for line in group["rollouts"]:
                pieces.append(("rollout", {**place, "id": line["id"]}))
                pieces.append(("task", {**run, "task": line["task"]}))
        yield pieces
    yield [("list", run)] if len(table) else []


def _key(page: str, query: Mapping[str, str]) -> str:
    """As `data.js` looks for it."""
    return "\n".join([page, *(f"{key}={query[key]}" for key in sorted(query) if query[key])])


def _one_script() -> str:
    """The modules behind each other, without their imports and exports."""
    text = "\n".join(STATIC[name].decode() for name in MODULES)
    text = re.sub(r"^import [^;]*;\n", "", text, flags=re.M)
    return re.sub(r"^export ", "", text, flags=re.M)


def _hashes(texts: list[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
