"""`astuner enable`, `disable` and `env`: what plain Python finds behind `agentscope.tuner`."""

from __future__ import annotations

import sys


def enable() -> None:
    """Let plain `python main.py` meet this package behind `agentscope.tuner`.

    In scripts, notebooks and subprocesses of this Python environment, until `astuner disable`. It
    is a small file beside the environment's packages; AgentScope itself is not changed.

    **Example:** `astuner enable`
    """
    from agentscope_tuner.compat import environment

    pth = environment.enable()
    print(
        f"`python main.py` of {sys.prefix} now finds this package behind agentscope.tuner "
        f"({pth}); `astuner disable` takes that back."
    )


def disable() -> None:
    """Give `agentscope.tuner` back to AgentScope's own.

    **Example:** `astuner disable`
    """
    from agentscope_tuner.compat import environment

    was = environment.disable()
    if was is None:
        print(f"It was not enabled in {sys.prefix}.")
    else:
        print(f"`python main.py` of {sys.prefix} finds AgentScope's own tuner again.")


def env() -> None:
    """Say which environment this is, and which tuner plain Python finds there.

    **Example:** `astuner env`
    """
    from agentscope_tuner.compat import environment

    here = environment.current()
    behind = (
        f"this package ({here.enabled_by})"
        if here.enabled_by is not None
        else "AgentScope's own; `astuner enable` changes that, `astuner run main.py` needs it not"
    )
    for name, value in (
        ("environment", str(here.prefix)),
        ("Python", here.python),
        ("agentscope", here.agentscope or "not installed"),
        ("agentscope-tuner", here.tuner),
        ("agentscope.tuner", behind),
    ):
        print(f"{name:18}{value}")
