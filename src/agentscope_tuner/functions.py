"""Where a function comes from, as text, and back: how a configuration names workflow and judge.

`path/to/main.py:run_react_agent` for a function of a script, `package.module:function` for one of
an installed package. The script is loaded under another name than `__main__`, so what stands below
`if __name__ == "__main__":` does not run.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from agentscope_tuner.errors import InputError

Function = Callable[..., Any]

SCRIPT_PREFIX = "astuner:"
"""Begins the names of modules that are scripts: nobody else can import them by these."""


def reference_to(function: Function) -> str | None:
    """The text that `load_function` takes; None for a function without a name at the top of a file
    (a lambda, a function in a function, one typed into an interpreter)."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or getattr(module, name, None) is not function:
        return None
    if module.__package__ and module.__name__ != "__main__":
        return f"{module.__name__}:{name}"
    return f"{_from_here(Path(file))}:{name}"


def described(function: Function) -> dict[str, str]:
    """`name` of a function, as `reference_to` has it where it can, and its `source`, which is
    empty where there is none to read."""
    plain = inspect.unwrap(function)
    name = reference_to(function) or str(getattr(plain, "__qualname__", type(plain).__name__))
    try:
        source = inspect.getsource(plain if inspect.isroutine(plain) else type(plain))
    except (OSError, TypeError):
        source = ""
    return {"name": name, "source": textwrap.dedent(source)}


def load_function(reference: str) -> Function:
    """The function that a reference names.

    Raises InputError if there is no such file, module or function; and whatever the file raises.
    """
    source, _, name = reference.rpartition(":")
    if not source:
        raise InputError(
            f"{reference!r} names no function: write path/to/file.py:function or module:function."
        )
    module = _load_file(Path(source)) if source.endswith(".py") else _load_module(source)
    function: Function | None = getattr(module, name, None)
    if function is None:
        raise InputError(f"There is no function {name!r} in {source}.")
    return function


def load_script_module(name: str) -> None:
    """Load the script that is a module of this name in another process; nothing for any other."""
    if name.startswith(SCRIPT_PREFIX):
        file = name.removeprefix(SCRIPT_PREFIX).replace("%2E", ".").replace("%25", "%")
        _load_file(Path(file))


def _from_here(file: Path) -> Path:
    """Relative to the working directory if it lies below it."""
    file, here = file.resolve(), Path.cwd().resolve()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _load_file(path: Path) -> ModuleType:
    file = path.expanduser().resolve()
    if not file.is_file():
        raise InputError(f"There is no file {str(path)!r} to take a function from.")
    # Without dots, which would make it a part of a package.
    name = SCRIPT_PREFIX + str(file).replace("%", "%25").replace(".", "%2E")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _put_first_on_path(file.parent)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half of it would be taken for the whole next time
        raise
    return module


def _load_module(name: str) -> ModuleType:
    _put_first_on_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"The module {name!r} cannot be imported: {error}.") from error


def _put_first_on_path(directory: Path) -> None:
    entry = os.fspath(directory)
    if entry not in sys.path:
        sys.path.insert(0, entry)
