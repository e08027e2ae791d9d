"""This package under the name `agentscope.tuner`."""

from agentscope_tuner.compat.alias import install
from agentscope_tuner.compat.script import run_script

__all__ = ["install", "run_script"]
