"""The real command line, in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentscope_tuner import cli


def exit_code(*arguments: str | Path) -> int:
    """Call `astuner` with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["astuner", *map(str, arguments)])
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as ended:
            cli.main()
    code = ended.value.code or 0
    assert isinstance(code, int)
    return code
