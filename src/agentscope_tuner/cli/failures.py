"""How errors reach the person at the terminal.

A `TunerError` is one sentence. Anything else keeps its traceback, without what the command line did
before the user's own code began.
"""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.text import Text

from agentscope_tuner.errors import InputError, TunerError
from agentscope_tuner.visible import visible

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}


@contextmanager
def shown() -> Iterator[None]:
    """Print what the block raises, and leave with the exit code that it means."""
    try:
        yield
    except TunerError as error:
        sentence = Text.assemble(("error: ", "bold red"), visible(str(error)))
        Console(stderr=True).print(sentence)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except Exception as error:
        frames = users_frames(error.__traceback__)
        # A script that cannot be parsed has no frame yet; the error itself names the place.
        if frames is None and not isinstance(error, SyntaxError):
            frames = error.__traceback__
        report = "".join(traceback.format_exception(type(error), error, frames))
        sys.stderr.write(visible(report))
        sys.exit(1)


def users_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is the user's; None if none is."""
    while frames is not None and not _is_users(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_users(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(_PACKAGE):
        return False
    return not any(path.is_relative_to(place) for place in _INSTALLED)
