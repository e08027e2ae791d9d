"""`astuner enable`, `disable` and `env`: what plain Python finds behind `agentscope.tuner`."""

from __future__ import annotations

import sys

from agentscope_tuner.cli.machine import print_json
from agentscope_tuner.cli.options import AsJson


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


def env(as_json: AsJson = False) -> None:
    """Say which environment and machine this is, and which tuner plain Python finds: for bug
    reports.

    **Example:** `astuner env`
    """
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(f"{name:{width}}{value}")


def _processors() -> int:
    """Those that this process may use, where the system says so."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _facts() -> dict[str, str]:
    import platform
    import shutil

    import psutil
    import torch

    from agentscope_tuner.cache import cache_directory
    from agentscope_tuner.compat import environment
    from agentscope_tuner.runs.identity import package_versions

    here = environment.current()
    behind = (
        f"this package ({here.enabled_by})"
        if here.enabled_by is not None
        else "AgentScope's own; `astuner enable` changes that, `astuner run main.py` needs it not"
    )
    memory = psutil.virtual_memory()
    gpus = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    return {
        "environment": str(here.prefix),
        "Python": here.python,
        "agentscope": here.agentscope or "not installed",
        "agentscope-tuner": here.tuner,
        "agentscope.tuner": behind,
        **{n: v for n, v in package_versions().items() if not n.startswith("agentscope")},
        "platform": platform.platform(),
        "processors": f"{_processors()}",
        "memory": f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB available",
        "GPUs": ", ".join(gpus) or "none",
        "C compiler": shutil.which("cc") or "none: sampling on the CPU is slower without",
        "cache": str(cache_directory()),
    }
