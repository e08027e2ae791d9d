"""Running a user's script with this package behind `agentscope.tuner`."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from agentscope_tuner.compat.alias import install
from agentscope_tuner.errors import InputError
from agentscope_tuner.heap import share_heap


def run_script(path: str | os.PathLike[str], argv: Sequence[str] = ()) -> None:
    """Run the script at `path` as `python path *argv` would: as `__main__`, with its own directory
    first on the import path.

    `sys.argv` and `sys.path` stay as the script needs them, as it is what this process is for.
    Raises InputError if there is no such file, and whatever the script raises.
    """
    script = Path(path)
    if not script.is_file():
        raise InputError(f"There is no script at {str(path)!r}.")
    share_heap()  # before what the script imports starts threads
    install()
    sys.argv = [str(path), *argv]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(path), run_name="__main__")
