"""`astuner serve`: a tuned model behind OpenAI's API."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer
from rich.console import Console

Served = Annotated[
    str,
    typer.Argument(
        metavar="RUN|CHECKPOINT|MODEL",
        help="A run directory (its last checkpoint), a `global_step_<n>`, or a model path.",
        show_default=False,
    ),
]


def serve(
    source: Served,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Default: a free one.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="The interface to listen on.")] = "127.0.0.1",
    key: Annotated[
        str | None,
        typer.Option("--api-key", help="Default: a random one, printed.", show_default=False),
    ] = None,
) -> None:
    """Serve a tuned model to whatever speaks OpenAI's API: chat, tools, streams; until Ctrl-C.

    It is rendered, sampled and parsed as in its run.

    **Example:** `astuner serve checkpoints/AgentScope/first --port 8000`
    """
    import asyncio

    import uvicorn

    from agentscope_tuner.engine.serving import OpenAI, serving, settings_of
    from agentscope_tuner.listening import listen

    listener = listen(host, port)
    name, settings = settings_of(source)
    key = key or secrets.token_urlsafe(24)
    number = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host

    async def until_interrupted() -> None:
        async with serving(name, settings) as service:
            config = uvicorn.Config(OpenAI(service, key), log_level="warning", lifespan="off")
            for line in (
                f"OPENAI_BASE_URL=http://{shown}:{number}/v1",
                f"OPENAI_API_KEY={key}",
                f"the model is called {name!r}; Ctrl-C ends it",
            ):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            await uvicorn.Server(config).serve(sockets=[listener])

    console = Console()
    asyncio.run(until_interrupted())
