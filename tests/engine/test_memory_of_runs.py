"""A process that tunes again and again holds no more than one that tuned once."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from agentscope.model import ChatModelBase
from transformers import PreTrainedTokenizerBase

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, WorkflowOutput, tune
from agentscope_tuner.tuning import Invocation, invoked_as

FULL = ("algorithm.kl_loss_fn=k2",)
ADAPTERS = (*FULL, "model.lora.rank=4")


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    answer = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(reward=float(len(answer.content[0]["text"])))


def live_bytes() -> dict[int, int]:
    """Address and size of the storage behind every tensor that Python still knows."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors if not tensor.is_meta]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def tokenizers() -> set[int]:
    return {id(thing) for thing in gc.get_objects() if isinstance(thing, PreTrainedTokenizerBase)}


@pytest.mark.parametrize("settings", [FULL, ADAPTERS], ids=["full", "adapters"])
def test_a_run_leaves_no_tensor_and_no_tokenizer_behind(
    settings: tuple[str, ...],
    tiny_model: Path,
    sums: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before, known = live_bytes(), tokenizers()
    with invoked_as(Invocation(settings=("trainer.dtype=bfloat16", *settings))):
        tune(
            workflow_func=ask,
            model=TunerModelConfig(model_path=str(tiny_model), max_model_len=128, max_tokens=8),
            train_dataset=DatasetConfig(path=str(sums), total_steps=1),
            algorithm=AlgorithmConfig(group_size=2, batch_size=2),
            monitor_type="none",
        )
    left = {address: size for address, size in live_bytes().items() if address not in before}
    assert tokenizers() <= known
    assert sum(left.values()) < 1000, left  # constants of libraries that were imported meanwhile
