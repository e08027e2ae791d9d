"""A GGUF file is the model: it is loaded again and compared, and nothing half-written is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
)

from agentscope_tuner.engine.export import export_adapter, export_gguf
from agentscope_tuner.engine.gguf_check import compare
from agentscope_tuner.engine.gguf_file import write_gguf
from agentscope_tuner.errors import InputError, RunError

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
CONFIGS = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    # transformers reads no other size of heads from the file, and all published ones have it.
    "qwen3": lambda **sizes: Qwen3Config(**sizes, head_dim=128),
}


@pytest.fixture(scope="module")
def tokenizer(smol_directory: Path) -> PreTrainedTokenizerBase:
    """SmolLM2's with 300 tokens: transformers takes half a minute to load 49,152 from a file."""
    whole = AutoTokenizer.from_pretrained(smol_directory)
    return whole.train_new_from_iterator(["17 + 25 is 42", "Hi there, Zoë!"], vocab_size=300)


def a_model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # which begin as zeros, and would hide that they are lost
            torch.nn.init.normal_(weight)
    return model


@pytest.fixture(scope="module")
def tiny(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    a_model(LlamaConfig(**SIZES, vocab_size=len(tokenizer))).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_loaded_from_the_file_is_the_model_bit_by_bit(
    family: str, tied: bool, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    config = CONFIGS[family](**SIZES, vocab_size=len(tokenizer) + 8, tie_word_embeddings=tied)
    model = a_model(config)
    path = tmp_path / "model.gguf"
    write_gguf(path, model, tokenizer, "f32", "tiny")
    assert compare(path, model, tokenizer, lossless=True) == 1.0
    copy = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    torch.testing.assert_close(copy.state_dict(), model.state_dict(), rtol=0, atol=0)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    assert theirs.chat_template == tokenizer.chat_template
    assert theirs.eos_token == tokenizer.eos_token
    special = "<|im_start|>user\nHi  there, 1234!<|im_end|>"
    assert theirs(special)["input_ids"] == tokenizer(special)["input_ids"]


def test_a_rounded_file_keeps_its_vectors_whole_and_is_smaller(tiny: Path, tmp_path: Path) -> None:
    whole = export_gguf(str(tiny), tmp_path / "whole", None, ollama=False)
    assert whole.agreement == 1.0
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), None
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    path = tmp_path / "rounded.gguf"
    write_gguf(path, model, tokenizer, "q8_0", "tiny")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert kinds["token_embd.weight"] == kinds["blk.0.attn_q.weight"] == "Q8_0"
    assert kinds["blk.0.attn_norm.weight"] == kinds["output_norm.weight"] == "F32"
    vocabulary = model.config.vocab_size * model.config.hidden_size
    saved = whole.path.stat().st_size - path.stat().st_size
    assert saved > 2.5 * vocabulary  # four bytes a number became 34 / 32


def test_a_file_that_answers_otherwise_is_told_and_not_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upside_down = "agentscope_tuner.engine.gguf_file._arranged"
    monkeypatch.setattr(upside_down, lambda model, key, tensor: tensor.flip(0).numpy().copy())
    with pytest.raises(RunError, match="of 72 greedy tokens only"):
        export_gguf(str(tiny), tmp_path / "out", None, ollama=False)
    assert [*tmp_path.iterdir()] == []


def test_ollama_gets_a_modelfile(tiny: Path, tmp_path: Path) -> None:
    export_gguf(str(tiny), tmp_path / "tiny", None, ollama=True)
    modelfile = (tmp_path / "tiny" / "Modelfile").read_text()
    assert modelfile == 'FROM ./tiny.gguf\nPARAMETER stop "<|im_end|>"\n'
    assert (tmp_path / "tiny" / "tiny.gguf").is_file()


def test_an_architecture_that_is_not_written_is_refused(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, head_dim=16, vocab_size=len(tokenizer)))
    model.save_pretrained(tmp_path / "gemma")
    tokenizer.save_pretrained(tmp_path / "gemma")
    with pytest.raises(InputError, match="gemma3_text model cannot be written as GGUF here"):
        export_gguf(str(tmp_path / "gemma"), tmp_path / "out", None, ollama=False)
    assert [path.name for path in tmp_path.iterdir()] == ["gemma"]


def test_a_scaled_rotary_embedding_is_refused(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    config = LlamaConfig(**SIZES, vocab_size=len(tokenizer), rope_parameters=rope)
    with pytest.raises(InputError, match=r"scaled rotary embedding \(linear\)"):
        write_gguf(tmp_path / "x.gguf", a_model(config), tokenizer, "f32", "x")


def test_a_model_tuned_in_full_has_no_adapter(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no adapter: it was tuned in full"):
        export_adapter(str(tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()
