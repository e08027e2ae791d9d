"""`astuner view`: runs in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console


def view(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="[RUN|DIRECTORY]", help="A run, a project, or a directory of projects."
        ),
    ] = Path("checkpoints"),
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Default: a free one.", show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The interface to listen on; the address shown has a token.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Whether to open the address in a browser.")] = True,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write one run as one file that opens from disk, and serve nothing.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Look at runs in the browser: curves, every rollout, every token; also while a run goes on.

    **Example:** `astuner view checkpoints/AgentScope/first`
    """
    from agentscope_tuner.viewer.library import Library

    library = Library(directory)
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if export is not None:
        from agentscope_tuner.viewer.export import write_report

        say(write_report(library, export))
        return
    from agentscope_tuner.viewer.serve import serve

    names = list(library.rows())
    path = f"#/run?run={quote(names[0], safe='')}" if len(names) == 1 else ""
    serve(library, host=host, port=port, browser=browser, path=path, say=say)
