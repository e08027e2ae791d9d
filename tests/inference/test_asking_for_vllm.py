"""What is configured of vLLM, and where it is refused: without it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import notices
from agentscope_tuner.engine import models
from agentscope_tuner.engine.models import ModelFiles, start_sampler
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference import vllm_installed
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.inference.vllm_engine import VllmSettings, engine_arguments

BASE = {"model.model_path": "m", "buffer.explorer_input.taskset.path": "d"}
MODEL = "explorer.rollout_model"
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def arguments(device: torch.device, *, beside_learner: bool = False, **keys: Any) -> dict[str, Any]:
    """Of an engine for which no logits processor can be made, as there is no vLLM."""
    keys = {f"{MODEL}.{key}": value for key, value in {"tensor_parallel_size": 2, **keys}.items()}
    settings = resolve(overrides={**BASE, f"{MODEL}.engine_type": "vllm", **keys}).trained_model()
    return engine_arguments(
        Path("m"),
        VllmSettings(**settings.vllm),
        device=device,
        dtype=torch.bfloat16,
        max_model_len=64,
        cache_bytes=settings.kv_cache_memory_bytes,
        shares_device=beside_learner,
    )


def test_what_is_configured_reaches_the_engine() -> None:
    given = {"enforce_eager": True, "enable_prefix_caching": False, "gpu_memory_utilization": 0.7}
    reached = arguments(GPU, **given, kv_cache_memory_bytes=2**20)
    assert reached.items() >= {**given, "tensor_parallel_size": 2, "dtype": "bfloat16"}.items()
    assert (reached["max_model_len"], reached["kv_cache_memory_bytes"]) == (64, 2**20)
    assert reached["logprobs_mode"] == "processed_logprobs"
    more = arguments(GPU, extra_engine_args={"max_num_seqs": 32, "block_size": 16})
    assert (more["max_num_seqs"], more["block_size"]) == (32, 16)


def test_a_gpu_with_a_learner_on_it_is_shared_and_a_processor_is_not_filled() -> None:
    assert arguments(GPU)["gpu_memory_utilization"] == 0.9
    assert arguments(GPU, beside_learner=True)["gpu_memory_utilization"] == 0.4
    assert arguments(GPU)["kv_cache_memory_bytes"] is None
    assert not arguments(GPU)["enforce_eager"]
    assert arguments(CPU)["kv_cache_memory_bytes"] > 0
    assert arguments(CPU)["enforce_eager"]


def test_trinitys_other_name_is_the_same_engine() -> None:
    config = resolve(overrides={**BASE, f"{MODEL}.engine_type": "vllm_async"})
    assert config.trained_model().engine_type == "vllm"
    with pytest.raises(InputError, match="engine_type"):
        resolve(overrides={**BASE, f"{MODEL}.engine_type": "sglang"})


def test_keys_for_vllm_are_named_as_idle_without_it_alone() -> None:
    keys = {f"{MODEL}.enforce_eager": True, f"{MODEL}.tensor_parallel_size": 2}
    (line,) = notices(resolve(overrides={**BASE, **keys}))
    assert "enforce_eager (vLLM only)" in line
    assert "tensor_parallel_size (torch samples on one device)" in line
    assert notices(resolve(overrides={**BASE, **keys, f"{MODEL}.engine_type": "vllm"})) == []
    judge = {"name": "judge", "model_path": "j", "enforce_eager": True}
    both = {f"{MODEL}.engine_type": "vllm", "explorer.auxiliary_models": [judge]}
    (line,) = notices(resolve(overrides={**BASE, **both}))
    assert "explorer.auxiliary_models.0.enforce_eager" in line


@pytest.mark.parametrize(
    ("version", "device", "sentence"),
    [
        (None, GPU, "not installed: pip install 'agentscope-tuner"),
        ("0.33.0", GPU, "vLLM 0.33.0 is installed, and only 0.32 was tried"),
        ("0.3.2", CPU, "vLLM 0.3.2 is installed, and only 0.32 was tried"),
        ("0.32.0", CPU, "in its form for GPUs, and no GPU can be used here"),
    ],
)
def test_a_vllm_that_cannot_be_used_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, version: str | None, device: torch.device, sentence: str
) -> None:
    monkeypatch.setattr(vllm_installed, "installed_version", lambda: version)
    monkeypatch.setattr(vllm_installed, "_is_for_processors", lambda: False)
    with pytest.raises(InputError, match=sentence) as refused:
        vllm_installed.refuse_unusable(device)
    assert "\n" not in str(refused.value)


async def test_a_configuration_made_for_vllm_runs_on_a_laptop_without_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(models, "installed_version", lambda: None)
    given = {**BASE, "model.model_path": str(tiny_model), f"{MODEL}.engine_type": "vllm"}
    settings, files = resolve(overrides=given).trained_model(), ModelFiles.find(str(tiny_model))
    with caplog.at_level(logging.WARNING):
        sampler = start_sampler(settings, files, None, CPU, deterministic=False)
    assert isinstance(sampler, TorchSampler)
    assert "vllm, which is not installed here: torch samples" in caplog.text
    await sampler.close()


def test_bits_that_repeat_are_not_vllms(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "installed_version", lambda: "0.32.0")
    settings = resolve(overrides={**BASE, f"{MODEL}.engine_type": "vllm"}).trained_model()
    with pytest.raises(InputError, match="deterministic has no counterpart in vLLM"):
        start_sampler(settings, ModelFiles.find(str(tiny_model)), None, CPU, deterministic=True)
