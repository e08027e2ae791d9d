"""Agents of AgentScope 2.x: collected only where it is installed (`make test-agentscope2`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from agentscope_tuner.chat_model import MAJOR

collect_ignore_glob = [] if MAJOR == 2 else ["test_*.py"]
sys.path.append(str(Path(__file__).parents[1] / "chat"))  # chat_parts, test_trajectories


@pytest.fixture(scope="session")
def smol(smol_directory: Path) -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer."""
    return AutoTokenizer.from_pretrained(smol_directory)
