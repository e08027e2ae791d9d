"""Configuration files: what is read, what is written, what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscope_tuner.config import yaml_file
from agentscope_tuner.config.arguments import AlgorithmConfig, DatasetConfig, TunerModelConfig
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.errors import InputError


def some_config() -> Config:
    return resolve(
        model=TunerModelConfig(model_path="m", max_model_len=64, inference_engine_num=2),
        train_dataset=DatasetConfig(path="d", total_steps=5),
        eval_dataset={"a": DatasetConfig(path="d", split="test")},
        auxiliary_models={"judge": TunerModelConfig(model_path="j", max_model_len=32)},
        algorithm=AlgorithmConfig(learning_rate=3e-6),
        experiment_name="first",
        monitor_type="none",
        overrides={
            "buffer.explorer_input.taskset.workflow_args": {"a": ["${x}", 1.5, None, {"b": True}]}
        },
    )


def test_what_is_dumped_loads_as_the_same_configuration(tmp_path: Path) -> None:
    config = some_config()
    yaml_file.dump(config, tmp_path / "config.yaml")
    again = resolve(config_path=tmp_path / "config.yaml")
    assert again == config
    assert notices(again) == notices(config)
    yaml_file.dump(again, tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "config.yaml").read_text()


_TEXT = st.text("$\\{}x", max_size=8) | st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.text("abc", min_size=1), _VALUES))
def test_free_form_arguments_survive_the_file(tmp_path_factory, arguments: dict) -> None:
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    config = some_config()
    config.buffer.explorer_input.taskset.workflow_args = arguments
    yaml_file.dump(config, path)
    assert resolve(config_path=path) == config


@pytest.mark.parametrize("text", ["1e100", "1_000", "1e5", "+.5e3", "null", "yes", "12:30", "${x}"])
def test_text_that_looks_like_something_else_stays_text(tmp_path: Path, text: str) -> None:
    config = some_config()
    config.buffer.explorer_input.taskset.workflow_args = {"key": text}
    yaml_file.dump(config, tmp_path / "config.yaml")
    read = resolve(config_path=tmp_path / "config.yaml")
    assert read.buffer.explorer_input.taskset.workflow_args == {"key": text}


def test_environment_variables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "7")
    path = tmp_path / "c.yaml"
    path.write_text("a: ${oc.env:STEPS}\nb: ${oc.env:NOT_SET_AT_ALL,x}\nc: ${b}\n")
    assert yaml_file.load(path) == {"a": "7", "b": "x", "c": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "line 2"),
        ("a:\n\t- 1\n", "line 2"),
        ("- 1\n", "is a mapping"),
        ("model:\n  model_path: ${oc.env:NOT_SET_AT_ALL}\n", "model.model_path.*NOT_SET_AT_ALL"),
        ("a: ${b.c}\n", "at a"),
        ("a: ${nonsense:1}\n", "nonsense"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        yaml_file.load(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_an_empty_file_is_an_empty_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# nothing\n")
    assert yaml_file.load(tmp_path / "config.yaml") == {}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        yaml_file.load(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8 text"):
        yaml_file.load(tmp_path / "binary.yaml")
