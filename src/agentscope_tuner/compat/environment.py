"""`astuner enable`: plain `python main.py` meets this package behind `agentscope.tuner`.

A .pth file beside an environment's packages is read whenever its Python starts, in scripts,
notebooks and subprocesses alike. Ours imports `startup.py`, a copy of which lies beside it.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import cache_from_source
from pathlib import Path

from agentscope_tuner.errors import InputError
from agentscope_tuner.version import __version__

_MODULE = "_agentscope_tuner_startup"


@dataclass(frozen=True, slots=True)
class Environment:
    """The Python environment of this process."""

    prefix: Path
    python: str
    """Version of Python."""
    agentscope: str | None
    """Version of AgentScope; None: it is not installed."""
    tuner: str
    """Version of this package."""
    enabled_by: Path | None
    """The .pth file; None: `agentscope.tuner` is AgentScope's own."""


def current() -> Environment:
    """What this process's environment has."""
    found = [pth for pth in map(_pth, _directories()) if pth.is_file()]
    return Environment(
        prefix=Path(sys.prefix),
        python=sys.version.split()[0],
        agentscope=_version("agentscope"),
        tuner=__version__,
        enabled_by=found[0] if found else None,
    )


def enable() -> Path:
    """Put the hook into this environment, over an older one, and return its .pth file.

    Raises InputError if nothing can be written beside the environment's packages.
    """
    source = files(__package__).joinpath("startup.py").read_text(encoding="utf-8")
    refused = []
    for directory in _directories():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{_MODULE}.py").write_text(source, encoding="utf-8")
            _pth(directory).write_text(f"import {_MODULE}\n", encoding="utf-8")
        except OSError as error:
            refused.append(f"{directory}: {error.strerror}")
        else:
            return _pth(directory)
    raise InputError(f"The environment takes no file ({'; '.join(refused)}): use one of your own.")


def disable() -> Path | None:
    """Take the hook away, and return the .pth file that it was; None: there was none.

    Raises InputError if it cannot be taken away.
    """
    was = current().enabled_by
    if was is not None:
        try:
            was.unlink()
            module = was.with_name(f"{_MODULE}.py")
            for file in (module, Path(cache_from_source(str(module)))):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{was} cannot be taken away: {error.strerror}.") from error
    return was


def _directories() -> list[Path]:
    """Where .pth files are read: the environment's, and the user's if it counts."""
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [Path(directory) for directory in (sysconfig.get_path("purelib"), *users)]


def _pth(directory: Path) -> Path:
    return directory / f"{_MODULE}.pth"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
