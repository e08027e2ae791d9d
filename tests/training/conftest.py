"""Fixtures of the learner's tests."""

import pytest
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
