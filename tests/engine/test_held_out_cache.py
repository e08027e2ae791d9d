"""The keys and values of an evaluation, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentscope_tuner.config.model import Model
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.held_out_cache import evaluation_bytes
from agentscope_tuner.engine.models import ModelFiles


@pytest.mark.parametrize(
    ("tokens", "taken"),
    [
        (100, 100),  # beside the step's
        (300, 150),  # as many as the cache, a tenth of what is free, has left
        (0, 0),
    ],
)
def test_an_evaluation_takes_what_its_tokens_do_and_at_most_the_cache(
    tiny_model: Path, tokens: int, taken: int
) -> None:
    config = Config(model=Model(model_path=str(tiny_model)))
    config.explorer.rollout_model.dtype = "float32"
    files = ModelFiles.find(str(tiny_model))
    text = files.config
    token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 4
    found = evaluation_bytes(
        config,
        files,
        torch.device("cpu"),
        free=10 * 200 * token,
        step_tokens=50,
        evaluation_tokens=tokens,
    )
    assert found == pytest.approx(taken * token)


def test_a_gpus_cache_is_there_from_the_beginning(tiny_model: Path) -> None:
    files = ModelFiles.find(str(tiny_model))
    config = Config(model=Model(model_path=str(tiny_model)))
    gpu = torch.device("cuda")
    assert evaluation_bytes(config, files, gpu, free=1e9, step_tokens=0, evaluation_tokens=9) == 0
