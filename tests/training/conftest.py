"""Fixtures of the learner's tests."""

from collections.abc import Iterator

import pytest
import torch
from tiny_training import FAMILIES, make_model
from transformers import PreTrainedModel


@pytest.fixture(params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny model of each family."""
    return make_model(request.param)


@pytest.fixture
def llama() -> PreTrainedModel:
    """A tiny Llama."""
    return make_model("llama")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Work on small tensors is quicker without a second thread to wait for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
