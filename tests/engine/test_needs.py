"""What a run needs of memory, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, MistralConfig

from agentscope_tuner.config.arguments import DatasetConfig, TunerModelConfig
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.companions import Companions
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.needs import (
    refuse_what_does_not_fit,
    sampling_needs,
    tuning_needs,
)
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.memory import count_parameters, total
from agentscope_tuner.training.saving import MOST_OF_A_FILE

BILLION = LlamaConfig(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22)
LORA = "model.lora.rank=8"
BF16 = ("trainer.dtype=bfloat16", "explorer.rollout_model.dtype=bfloat16")


def config_with(*settings: str, auxiliary: dict[str, TunerModelConfig] | None = None) -> Config:
    return resolve(
        model=TunerModelConfig(model_path="m", max_model_len=64),
        train_dataset=DatasetConfig(path="d"),
        auxiliary_models=auxiliary,
        overrides=(*BF16, *settings),
    )


@pytest.fixture
def billion() -> ModelFiles:
    """Files of a model that is not there: nothing but its configuration is read."""
    return ModelFiles(Path("nowhere"), BILLION, tokenizer=None)


def needed(files: ModelFiles, *settings: str, reference: bool = False) -> float:
    companions = Companions(reference=reference)
    return total(tuning_needs(config_with(*settings), files, companions)) - 1e9


def test_full_tuning_holds_20_bytes_a_parameter_in_bf16(billion: ModelFiles) -> None:
    # Master 4, copy 2, gradient 4, Adam 8, the sampler's copy 2.
    assert needed(billion) == 20 * count_parameters(BILLION)


def test_in_float32_there_is_no_second_copy_to_compute_with(billion: ModelFiles) -> None:
    assert needed(billion, "trainer.dtype=float32") == (16 + 2) * count_parameters(BILLION)


def test_adapters_need_no_optimizer_for_what_is_frozen(billion: ModelFiles) -> None:
    parameters = count_parameters(BILLION)
    # The frozen weights, the sampler's copy, what of them is merged; adapters are well below a
    # percent.
    merged = needed(billion, LORA) - 4 * parameters
    assert MOST_OF_A_FILE < merged < MOST_OF_A_FILE + 0.2 * parameters
    for at_once in ("trainer.ranks=2", "explorer.rollout_model.engine_type=vllm"):
        merged = needed(billion, LORA, at_once) - 4 * parameters
        assert 2 * parameters < merged < 2.2 * parameters
    assert needed(billion, "model.lora.rank=16") > needed(billion, LORA)


def test_a_reference_is_a_further_copy_but_for_adapters(billion: ModelFiles) -> None:
    parameters = count_parameters(BILLION)
    assert needed(billion, reference=True) - needed(billion) == 2 * parameters
    assert needed(billion, LORA, reference=True) == needed(billion, LORA)


def test_a_critic_is_trained_like_the_policy_but_not_sampled_from(billion: ModelFiles) -> None:
    parameters = count_parameters(BILLION)
    for settings, bytes_each in (((), 18), (("trainer.dtype=float32",), 16)):
        config = config_with(*settings)
        needs = tuning_needs(config, billion, Companions(critic=billion))
        assert needs["critic"] == bytes_each * parameters
    adapters = tuning_needs(config_with(LORA), billion, Companions(critic=billion))
    assert 2 * parameters < adapters["critic"] < 2.2 * parameters


def test_auxiliary_models_count_once_for_each_that_is_loaded(
    billion: ModelFiles, tiny_model: Path
) -> None:
    here = TunerModelConfig(model_path=str(tiny_model), max_model_len=64)
    served = TunerModelConfig(model_path="x", max_model_len=64, base_url="http://localhost:1")
    auxiliary = {"judge": here, "again": here, "far": served}
    counted = sampling_needs(config_with(auxiliary=auxiliary), billion)
    assert counted.keys() == {"sampler", "judge"}
    assert counted["judge"] > 0


def test_adapters_fit_where_full_tuning_does_not(
    billion: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10 * count_parameters(BILLION) + 10**9
    monkeypatch.setattr("agentscope_tuner.inference.memory.free_memory", lambda device: free)
    companions = Companions()
    adapters = tuning_needs(config_with(LORA), billion, companions)
    refuse_what_does_not_fit(billion, adapters, training=True)
    message = r"Tuning this llama model of 1\.\d\dB parameters needs about .* optimizer 10\.\d"
    needs = tuning_needs(config_with(), billion, companions)
    with pytest.raises(InputError, match=message):
        refuse_what_does_not_fit(billion, needs, training=True)


def test_a_model_that_only_the_sampler_knows_is_refused_before_it_is_loaded() -> None:
    mistral = MistralConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1)
    files = ModelFiles(Path("nowhere"), mistral, tokenizer=None)
    refuse_what_does_not_fit(files, sampling_needs(config_with(), files), training=False)
    with pytest.raises(InputError, match="cannot train a model of type 'mistral'"):
        tuning_needs(config_with(), files, Companions())


def test_the_estimate_of_a_learner_is_what_it_holds(tiny_model: Path) -> None:
    from agentscope_tuner.inference.loading import load_model
    from agentscope_tuner.training.learner import LocalLearner
    from agentscope_tuner.training.memory import tuning_bytes
    from agentscope_tuner.training.optimization import OptimizerSettings

    model = load_model(tiny_model, torch.float32)
    learner = LocalLearner(model, optimizer=OptimizerSettings(), compute_dtype=torch.bfloat16)
    held = sum(weight.nbytes for weight in learner.weights().values())
    held += sum(master.nbytes for master in learner._masters.by_name.values())
    estimate = tuning_bytes(model.config, torch.bfloat16, None, reference=False)
    assert estimate["weights"] == held
