"""This package under the name `agentscope.tuner`.

Importing it is cheap: `astuner enable`, `disable` and `env` do not import AgentScope.
"""

from typing import Any

__all__ = ["install", "run_script"]


def __getattr__(name: str) -> Any:
    if name == "install":
        from agentscope_tuner.compat.alias import install

        return install
    if name == "run_script":
        from agentscope_tuner.compat.script import run_script

        return run_script
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
