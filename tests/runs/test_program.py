"""A run knows the commit of the directory that it was started in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentscope_tuner.runs.program import commit_of


def git(place: Path, *command: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    done = subprocess.run(
        ["git", "-C", str(place), *who, *command], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_commit_is_known_and_whether_files_were_changed_since(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None  # nothing was committed yet
    (tmp_path / "main.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "One")
    clean = {"commit": git(tmp_path, "rev-parse", "HEAD"), "changed": False}
    (tmp_path / "checkpoints").mkdir()  # what git does not know is no change
    (tmp_path / "checkpoints" / "log").write_text("")
    assert commit_of(tmp_path / "checkpoints") == clean
    (tmp_path / "main.py").write_text("2\n")
    assert commit_of(tmp_path) == {**clean, "changed": True}


def test_without_a_repository_or_without_git_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) is None
