"""What several rooms' tests share: the real small model, a tiny random one, and a dataset."""

from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tiny_llama import SMOL, write_tiny_llama

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Each worker and what it starts has its share of the cores; before torch is imported.
    share = max(1, len(os.sched_getaffinity(0)) // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))

# Whoever starts the tests in the background (`make test &`) may have them ignore Ctrl-C, and so all
# that they start and then stop.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Timings decide no test. Explaining a failure traces it, in which Python 3.11 can hang.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("no-timing", deadline=None, phases=PHASES)
settings.load_profile("no-timing")


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Pytest's, after what earlier tests left behind has complained of being destroyed."""
    gc.collect()
    return caplog


@pytest.fixture(scope="session")
def smol_directory() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory."""
    from agentscope_tuner.inference.loading import resolve_model

    return resolve_model(SMOL)


@pytest.fixture(scope="session")
def tiny_model(smol_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, behind SmolLM2's tokenizer."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny-llama"), smol_directory)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """A dataset directory as the guide lays it out: twelve tasks to learn from, four held out."""
    directory = tmp_path / "sums"
    directory.mkdir()
    for split, numbers in {"train": range(12), "test": range(12, 16)}.items():
        lines = [json.dumps({"question": f"{n} + 1 =", "answer": str(n + 1)}) for n in numbers]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return directory
