"""The documentation as a site: every page in its place, every reference found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pages import ROOT, text_of

import agentscope_tuner


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    options = ["-q", "-W", "--keep-going", "-c", "docs"]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    shown = re.findall(r"^\.\. auto\w+:: (\w+)", text_of(ROOT / "docs" / "api.md"), re.MULTILINE)
    assert sorted(shown) == sorted({*agentscope_tuner.__all__} - {"JudgeType", "WorkflowType"})
